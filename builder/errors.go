package builder

import (
	"errors"
	"fmt"

	"github.com/containers/storage"
)

// What callers may test for with errors.Is. Texts follow the contract's list of texts worth preserving (cli.md §14).
var (
	// ErrNoContainer: no container has that name, ID or unique ID prefix. The caller named the wrong one.
	ErrNoContainer = errors.New("container not known")
	// ErrNoImage: no image has that name or ID in local storage, and none could be or was to be fetched.
	ErrNoImage = errors.New("image not known")
	// ErrNoLayer: no cached layer bears that key. The step has to be executed.
	ErrNoLayer = errors.New("layer not known")
	// ErrInUse: a command is running in the container. Try again when it has ended.
	ErrInUse = errors.New("in use by a running command")
	// ErrNameInUse: the name is taken by another container.
	ErrNameInUse = errors.New("that name is already in use")
	// ErrImageInUse: containers are based on the image. Remove them first, or force.
	ErrImageInUse = errors.New("image is in use by a container")
)

// An ExitError says that a command ran in the container and ended with a non-zero status, or with one
// that the caller had not declared valid.
type ExitError struct {
	// Code is the exit status the program should end with (cli.md §4): the command's own, 1 for a
	// command ended by a signal or that could not be started, 125 for an unlisted 0.
	Code int
	// Shell, if not 0, is what a shell would say instead of Code: 128 and the signal, 126 for what cannot be executed, 127
	// for what is not there.
	Shell int
	// Err tells more when the status alone does not.
	Err error
}

func (e *ExitError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

func (e *ExitError) Unwrap() error { return e.Err }

// translate turns the storage library's sentinels into ours, so that callers test only for ours.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrContainerUnknown):
		return ErrNoContainer
	case errors.Is(err, storage.ErrImageUnknown), errors.Is(err, storage.ErrNotAnImage):
		return ErrNoImage
	case errors.Is(err, storage.ErrDuplicateName):
		return ErrNameInUse
	}
	return err
}
