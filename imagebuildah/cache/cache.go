// Package cache names the results of build steps: a key is the digest of everything that can change a result, and of
// nothing else (decisions.md §2.1). It is pure; layers bear keys as names in storage.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// version changes when the meaning of a field does, so that old results are not found any more.
const version = 2

// Input is all that decides the result of a step. Fields that do not matter to a kind of step stay empty.
type Input struct {
	Kind     string   // instruction
	Parent   string   // the layer below
	Args     []string `json:",omitempty"` // command line, or destination and names
	Env      []string `json:",omitempty"` // sorted
	Dir      string   `json:",omitempty"`
	User     string   `json:",omitempty"`
	Options  []string `json:",omitempty"`
	Content  []string `json:",omitempty"` // digests of what is copied
	Platform string   // of what RUN executes
	Output   string   // times that are forced on the layer
}

// Chain names what a step makes that does not depend on what it stands on, over what it stands on: keys of steps after it
// have it for their parent.
func Chain(below, key string) string {
	return (&Input{Kind: "over", Parent: below, Content: []string{key}}).Key()
}

// Key is the digest of the input.
func (in *Input) Key() string {
	blob, _ := json.Marshal(struct { // strings always encode
		Version int
		*Input
	}{version, in})
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:])
}
