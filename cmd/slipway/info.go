package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/userns"
	"github.com/slipway-build/slipway/internal/version"
)

func newInfoCmd(g *globals) *cobra.Command {
	var debug bool
	var format string
	cmd := &cobra.Command{Use: "info [flags]", Short: "Describe the host and the storage", Example: "  info\n  info --format '{{.store.GraphRoot}}'", Args: cobra.NoArgs}
	cmd.Flags().BoolVarP(&debug, "debug", "d", false, "also describe the program")
	cmd.Flags().StringVar(&format, "format", "", "Go `template`, as {{.store.GraphRoot}}, or json")
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, _ []string) error {
		info, err := s.Info()
		if err != nil {
			return err
		}
		if host, ok := info["host"].(map[string]any); ok {
			host["UserNamespace"] = userns.Current().String()
			if why := userns.Why(); why != "" { // a container's root may be on this rung, too
				host["UserNamespace"], host["UserNamespaceRefused"] = userns.None.String(), why
			}
		}
		if debug {
			info["debug"] = map[string]any{"compiler": runtime.Compiler, "go version": runtime.Version(), "slipway version": version.Version, "git commit": version.Commit}
		}
		if format == "" || format == jsonFormat {
			return writeJSON(g.out, info)
		}
		t, err := parseTemplate(format)
		if err != nil {
			return err
		}
		if err := execute(g.out, t, info); err != nil {
			return err
		}
		_, err = fmt.Fprintln(g.out)
		return err
	})
	return cmd
}
