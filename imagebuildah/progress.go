package imagebuildah

import "time"

// An Event is something that happens in a build, for programs and for those who watch. Unlike lines, events come when they happen, of
// all stages that are built at the same time.
type Event struct {
	Time time.Time `json:"time"`
	// Kind is stage (one begins), waiting (it does), step (an instruction begins), cached or done (its end), output (what RUN
	// printed), explain and usage (what Options.ExplainCache and LogUsage ask for), stage-done, warning, image or error; or pull and
	// pulled, of an image that is fetched, push and pushed, of a remote cache that is written to, which belong to no stage.
	Kind string `json:"kind"`
	// Stage is the index of the stage, from 0; Name is its name, empty for none; Stages are all of the file.
	Stage  int    `json:"stage"`
	Name   string `json:"name,omitempty"`
	Stages int    `json:"stages"`
	// Platform is what the stage is built for, if that is one of several.
	Platform string `json:"platform,omitempty"`
	// Step counts from 1, which is FROM, as the lines do; Steps are all of the stage, or those that were pushed. 0 is none.
	Step  int `json:"step,omitempty"`
	Steps int `json:"steps,omitempty"`
	// Text is the instruction, what is waited for ("stage NAME", "its turn"), the output, the image's ID or name, or the error.
	Text string `json:"text,omitempty"`
	// Stream is 1 for standard output, 2 for standard error.
	Stream int `json:"stream,omitempty"`
	// Layer is the result of a step, Bytes its size, Seconds what it took. Of an image that is fetched Bytes of Total are here.
	Layer   string  `json:"layer,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"`
	Total   int64   `json:"total,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// event tells of something to the one who watches, one at a time.
func (j *job) event(e Event) {
	if j.o.Progress == nil {
		return
	}
	e.Stages = len(j.builds[0].plan.Stages)
	j.watching.Lock()
	defer j.watching.Unlock()
	e.Time = j.s.Now().UTC() // times go up from one event to the next
	j.o.Progress(e)
}

// watchPull gives what tells how far the fetching of an image is, and what tells of its end, if any was fetched.
func (j *job) watchPull(name string) (progress func(done, total int64), pulled func()) {
	if j.o.Progress == nil {
		return nil, func() {}
	}
	start, e := j.s.Now(), Event{Kind: "pull", Text: name}
	progress = func(done, total int64) {
		e.Bytes, e.Total = done, total
		j.event(e)
	}
	return progress, func() {
		if e.Total > 0 {
			e.Kind, e.Seconds = "pulled", j.s.Now().Sub(start).Seconds()
			j.event(e)
		}
	}
}

// watchPush tells that something is written to, and returns what tells of its end, and of how many steps it was given.
func (j *job) watchPush(what string) (pushed func(steps int)) {
	start, e := j.s.Now(), Event{Kind: "push", Text: what}
	j.event(e)
	return func(steps int) {
		e.Kind, e.Steps, e.Seconds = "pushed", steps, j.s.Now().Sub(start).Seconds()
		j.event(e)
	}
}

func (st *stage) event(e Event) {
	e.Stage, e.Name = st.def.Index, st.def.Name
	if st.b.several() {
		e.Platform = st.b.platform().String()
	}
	st.b.event(e)
}

// begin tells of a step that begins, and sets what tells of its end.
func (st *stage) begin(s *step) {
	e := Event{Step: s.number, Steps: len(st.def.Commands) + 1, Text: s.text, Kind: "step"}
	st.event(e)
	start := st.b.usage()
	s.end = func() {
		st.used(start)
		e.Kind, e.Seconds = "done", st.b.s.Now().Sub(start.at).Seconds()
		if l := s.layer; l != nil {
			e.Layer, e.Bytes = l.ID, l.Size
			if !s.made {
				e.Kind = "cached"
			}
		}
		st.event(e)
	}
}

// waiting tells what a step waits for; nil is a stage's FROM.
func (st *stage) waiting(s *step, what string) {
	e := Event{Kind: "waiting", Step: 1, Steps: len(st.def.Commands) + 1, Text: what}
	if s != nil {
		e.Step = s.number
	}
	st.event(e)
}

// output is where a RUN of a stage prints.
type output struct {
	st *stage
	n  int
}

// Write prints, and tells of it.
func (o output) Write(text []byte) (int, error) {
	o.st.event(Event{Kind: "output", Stream: o.n + 1, Text: string(text)})
	return stream{o.st.part, o.n}.Write(text)
}
