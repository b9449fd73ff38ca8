package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/userns"
)

type mountRow struct {
	Container  string `json:"container,omitempty"`
	MountPoint string `json:"mountPoint"`
}

func newMountCmd(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "mount [flags] [CONTAINER...]", Short: "Mount working containers, or list what is mounted",
		Example: "  m=$(PROGRAM mount work)\n  mount --json"}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().Bool("notruncate", true, "print names whole, as always")
	_ = cmd.Flags().MarkHidden("notruncate")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if driver := g.store.LikelyDriver(); os.Geteuid() != 0 && !userns.Entered() && driver != "vfs" {
			return fmt.Errorf("cannot mount using driver %s in rootless mode. You need to run it in a `%s unshare` session", driver, g.program)
		}
		return g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
			rows, err := g.mountAll(s, args)
			return errors.Join(printMounts(g.out, rows, len(args), asJSON), err)
		})(c, args)
	}
	return cmd
}

// mountAll mounts the named containers, or lists the mounted ones. One failure does not stop the others.
func (g *globals) mountAll(s *builder.Store, names []string) (rows []mountRow, err error) {
	if len(names) == 0 {
		list, err := s.Containers(false)
		for _, c := range list {
			if c.MountPoint != "" {
				rows = append(rows, mountRow{c.Name, c.MountPoint})
			}
		}
		return rows, err
	}
	err = g.each(names, func(name string) error {
		c, err := s.Container(name)
		if err != nil {
			return err
		}
		dir, err := c.Mount()
		if err == nil {
			rows = append(rows, mountRow{name, dir})
		}
		return err
	})
	return rows, err
}

func printMounts(w io.Writer, rows []mountRow, named int, asJSON bool) error {
	if asJSON {
		if named == 1 && len(rows) == 1 {
			rows[0].Container = ""
		}
		return writeJSON(w, rows)
	}
	for _, r := range rows {
		text := r.Container + " " + r.MountPoint
		if named == 1 {
			text = r.MountPoint
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func newUmountCmd(g *globals) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "umount [flags] [CONTAINER...]", Short: "Unmount working containers", Example: "  umount work\n  umount --all",
		Args: allOrNamed(&all, "at least one container ID must be specified", "when using the --all switch, you may not pass any container IDs"),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all working containers")
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		names, err := chosen(s, all, args)
		if err != nil {
			return err
		}
		return g.each(names, func(name string) error {
			c, err := s.Container(name)
			if errors.Is(err, builder.ErrNoContainer) {
				err = builder.ErrNoContainer
			}
			if err != nil {
				return fmt.Errorf("error unmounting container %s: %w", name, err)
			}
			was, err := c.Unmount()
			if err == nil && was {
				_, err = fmt.Fprintln(g.out, c.ID())
			}
			return err
		})
	})
	return cmd
}
