// Package version says which Slipway this is. It imports nothing heavy: it answers before anything else starts.
package version

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"
)

// Version is Slipway's own; the specs are those that it writes; ImageLibrary is the module it moves images with. A test
// compares them with go.mod.
const (
	Version      = "0.1.0-dev"
	ImageSpec    = "1.1.1"
	RuntimeSpec  = "1.0.2"
	ImageLibrary = "5.36.2"
)

// Commit and Built are set by the linker; empty when built without.
var (
	Commit string
	Built  string // seconds since the epoch
)

type info struct {
	Version       string `json:"version"`
	GoVersion     string `json:"goVersion"`
	ImageSpec     string `json:"imageSpec"`
	RuntimeSpec   string `json:"runtimeSpec"`
	ImageVersion  string `json:"imageVersion"`
	GitCommit     string `json:"gitCommit"`
	Built         string `json:"built"`
	OsArch        string `json:"osArch"`
	BuildPlatform string `json:"buildPlatform"`
}

func current() info {
	var seconds int64
	_, _ = fmt.Sscan(Built, &seconds) // unset is the epoch
	platform := runtime.GOOS + "/" + runtime.GOARCH
	return info{Version, runtime.Version(), ImageSpec, RuntimeSpec, ImageLibrary, Commit,
		time.Unix(seconds, 0).UTC().Format(time.ANSIC), platform, platform}
}

// Line writes the one line of --version.
func Line(w io.Writer, program string) error {
	_, err := fmt.Fprintf(w, "%s version %s (image-spec %s, runtime-spec %s)\n", program, Version, ImageSpec, RuntimeSpec)
	return err
}

// Write writes what the version command prints (cli.md §13.7).
func Write(w io.Writer, asJSON bool) error {
	v := current()
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "    ")
		return enc.Encode(v)
	}
	for _, row := range [][2]string{
		{"Version:", v.Version}, {"Go Version:", v.GoVersion}, {"Image Spec:", v.ImageSpec}, {"Runtime Spec:", v.RuntimeSpec},
		{"image Version:", v.ImageVersion}, {"Git Commit:", v.GitCommit}, {"Built:", v.Built}, {"OS/Arch:", v.OsArch},
		{"BuildPlatform:", v.BuildPlatform},
	} {
		if _, err := fmt.Fprintf(w, "%-16s %s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}
