package imagebuildah

import "context"

// claim makes sure that a step which was not found is executed by one stage only: another one with the same step waits, and takes what was
// made. Each would have a result of its own else, of which the next build finds one. What the caller wants executed is executed. done is to
// be called when the step has its result.
func (st *stage) claim(ctx context.Context, s *step) (done func(), err error) {
	if s.layer != nil || s.key == "" || s.alone || st.loose || st.b.o.NoCache || st.filtered() {
		return func() {}, nil
	}
	var seen chan struct{}
	for {
		other, mine := st.b.doing(s.key, seen)
		if mine != nil {
			return func() { close(mine) }, nil
		}
		if !closed(other) {
			st.waiting(s, "the same step of another stage")
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if err := st.lookup([]*step{s}); err != nil || s.layer != nil {
			return func() {}, err
		}
		seen = other // it failed, or has made something that is not for this stage
	}
}

// doing is the channel that is closed when the step of a key has been done by who does it, or did it last. If that is the one seen, or there
// is none, it is the caller's turn: mine is the caller's channel then.
func (j *job) doing(key string, seen chan struct{}) (other, mine chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if other = j.steps[key]; other == seen {
		mine = make(chan struct{})
		j.steps[key] = mine
	}
	return other, mine
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
