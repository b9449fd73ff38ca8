package spec

import (
	"errors"
	"fmt"
)

// Check tells what is wrong with options, wherever and with whichever files of the host a command is run with them: who gives them is told at once.
func Check(in Input) error {
	for _, o := range in.SecurityOpts {
		if err := new(secured).option(o); err != nil {
			return err
		}
	}
	for _, text := range in.Ulimits {
		if _, _, err := ulimit(text); err != nil {
			return fmt.Errorf("invalid ulimit %q: %w", text, err)
		}
	}
	if _, err := addedGroups(in); err != nil {
		return err
	}
	r := in.Resources
	switch {
	case r.MemorySwap > 0 && r.Memory == 0:
		return errors.New("--memory-swap limits memory and swap together: give --memory as well")
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return errors.New("--memory-swap limits memory and swap together: it cannot be below --memory")
	}
	return nil
}
