// Package version says which Slipway this is. It does without fmt, strings and strconv:
// Go starts them after many heavy packages, and this one answers before those.
package version

import (
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

// row is one fact, as text and as JSON name it.
type row struct{ title, key, value string }

func rows() []row {
	var seconds int64 // unset is the epoch
	for _, digit := range []byte(Built) {
		seconds = 10*seconds + int64(digit-'0')
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	return []row{
		{"Version:", "version", Version}, {"Go Version:", "goVersion", runtime.Version()}, {"Image Spec:", "imageSpec", ImageSpec},
		{"Runtime Spec:", "runtimeSpec", RuntimeSpec}, {"image Version:", "imageVersion", ImageLibrary}, {"Git Commit:", "gitCommit", Commit},
		{"Built:", "built", time.Unix(seconds, 0).UTC().Format(time.ANSIC)}, {"OS/Arch:", "osArch", platform},
		{"BuildPlatform:", "buildPlatform", platform},
	}
}

// Line is what --version prints.
func Line(program string) string {
	return program + " version " + Version + " (image-spec " + ImageSpec + ", runtime-spec " + RuntimeSpec + ")\n"
}

// Text is what the version command prints (cli.md §13.7).
func Text() string {
	const column = "                 "
	text := ""
	for _, r := range rows() {
		text += r.title + column[len(r.title):] + r.value + "\n"
	}
	return text
}

// JSON is what version --json prints. The values are plain text: they need no escapes.
func JSON() string {
	text := "{"
	for i, r := range rows() {
		if i > 0 {
			text += ","
		}
		text += "\n    \"" + r.key + "\": \"" + r.value + "\""
	}
	return text + "\n}\n"
}
