package builder

import (
	"time"

	"github.com/slipway-build/slipway/builder/internal/layer"
)

// A key names what a step is made of, and the key of a step after it includes the key, not the result: so all keys are known before anything
// is executed. But a command may have another result each time. What builder A made of one step and builder B of the next do not
// belong together: B's stands on what B had. Local storage knows what a layer stands on; the list of a remote cache says it too, and only
// results that stand on each other are taken from it.

// A WantedStep is a step of a stage that remote caches are asked for, in the order of the stage.
type WantedStep struct {
	Key string
	// Layer is the result that local storage has, over those before it; empty for none.
	Layer string
}

// A RemoteResult is what a remote cache has of a step; the zero value stands for what local storage has.
type RemoteResult struct{ step remoteStep }

// Local tells whether local storage has the result.
func (r RemoteResult) Local() bool { return r.step.Key == "" }

// layer is the ID of a result over what it was made over.
func (s remoteStep) layer() string { return layer.ID(s.Over, s.DiffID) }

// entry is how a step is listed, but for its blob.
func entry(step RemoteStep) remoteStep {
	return remoteStep{Key: step.Key, Over: step.Layer.Parent, DiffID: step.Layer.DiffID, Made: step.Layer.Created, Note: step.Note}
}

// Chain finds the deepest of steps that local storage does not have and the cache has, with all below it down to the layer base. Nothing in
// it was executed before oldest. It returns nothing where local storage goes as deep.
func (c *RemoteCache) Chain(base string, steps []WantedStep, oldest time.Time) []RemoteResult {
	for n := len(steps); n > 0 && steps[n-1].Layer == ""; n-- {
		for _, top := range c.steps[steps[n-1].Key] {
			if top.Made.Before(oldest) {
				continue
			}
			if chain, ok := c.below(base, steps[:n-1], top.Over, oldest); ok {
				return append(chain, RemoteResult{top})
			}
		}
	}
	return nil
}

// below finds results of all of the steps that end in the layer want. There is at most one of each that does.
func (c *RemoteCache) below(base string, steps []WantedStep, want string, oldest time.Time) ([]RemoteResult, bool) {
	if len(steps) == 0 {
		return nil, want == base
	}
	last := steps[len(steps)-1]
	if last.Layer != "" && last.Layer == want {
		return make([]RemoteResult, len(steps)), true
	}
	for _, r := range c.steps[last.Key] {
		if r.layer() != want || r.Made.Before(oldest) {
			continue
		}
		chain, ok := c.below(base, steps[:len(steps)-1], r.Over, oldest)
		return append(chain, RemoteResult{r}), ok
	}
	return nil, false
}

// Newest finds the newest result of a step that is the same over anything.
func (c *RemoteCache) Newest(key string, oldest time.Time) (RemoteResult, bool) {
	if list := c.steps[key]; key != "" && len(list) > 0 && !list[0].Made.Before(oldest) {
		return RemoteResult{list[0]}, true
	}
	return RemoteResult{}, false
}

// unserved are the steps that the list is to get. Steps that stand on each other are of no use without those below: if the list does not
// have results of all of them already, whoever made these, it gets all of these.
func (c *RemoteCache) unserved(steps []RemoteStep) (list []RemoteStep) {
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && steps[n].Layer.Parent == steps[n-1].Layer.ID {
			n++
		}
		served, fresh, damaged := c.serves(steps[:n]), false, false
		for _, step := range steps[:n] {
			damaged = damaged || step.Damaged // whether what stood on it can be had was not tried
			fresh = fresh || step.Fresh || damaged
			step.Fresh = fresh
			if damaged || !c.lists(entry(step)) && (fresh || !served) {
				list = append(list, step)
			}
		}
		steps = steps[n:]
	}
	return list
}

// serves tells whether who asks for these steps is given results of all.
func (c *RemoteCache) serves(steps []RemoteStep) bool {
	want := make([]WantedStep, len(steps))
	for i, step := range steps {
		want[i].Key = step.Key
	}
	return len(c.Chain(steps[0].Layer.Parent, want, time.Time{})) == len(steps)
}
