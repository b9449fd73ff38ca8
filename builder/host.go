package builder

import (
	"github.com/slipway-build/slipway/internal/userns"
)

// oneID tells whether this process lives in a user namespace with a single identity.
func oneID() bool { return userns.Current() == userns.OneID }
