package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

// exactly wants n arguments; complaint is the error of those who give less.
func exactly(n int, complaint string) cobra.PositionalArgs { return between(n, n, complaint) }

// between wants least to most arguments; complaint is the error of those who give less.
func between(least, most int, complaint string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return errors.New(complaint)
		case len(args) > most:
			return errors.New("too many arguments specified")
		}
		return nil
	}
}

// allOrNamed checks the arguments of a command that takes names or --all: none of both and both are errors.
func allOrNamed(all *bool, none, both string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case *all && len(args) > 0:
			return errors.New(both)
		case !*all && len(args) == 0:
			return errors.New(none)
		}
		return nil
	}
}

// chosen returns the named containers, or with all every working container.
func chosen(s *builder.Store, all bool, args []string) ([]string, error) {
	if !all {
		return args, nil
	}
	list, err := s.Containers(false)
	for _, c := range list {
		args = append(args, c.ID)
	}
	return args, err
}

// each calls do for every name. All errors but the last are printed at once, the last one is returned.
func (g *globals) each(names []string, do func(name string) error) error {
	var last error
	for _, name := range names {
		if err := do(name); err != nil {
			if last != nil {
				fmt.Fprintln(g.err, oneLine(last.Error()))
			}
			last = err
		}
	}
	return last
}

// atLeast wants n arguments or more; complaint is the error of those who give less.
func atLeast(n int, complaint string) cobra.PositionalArgs { return between(n, math.MaxInt, complaint) }
