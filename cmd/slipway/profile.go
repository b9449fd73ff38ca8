package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// profile is what --cpu-profile and --memory-profile ask for: files for `go tool pprof`.
type profile struct {
	cpu, memory string
	running     *os.File
}

func (p *profile) start() (err error) {
	if p.cpu == "" {
		return nil
	}
	if p.running, err = os.Create(p.cpu); err != nil {
		return fmt.Errorf("writing --cpu-profile: %w", err)
	}
	return pprof.StartCPUProfile(p.running)
}

// write completes the files, whatever became of the command.
func (p *profile) write() (err error) {
	if p.running != nil {
		pprof.StopCPUProfile()
		err = p.running.Close()
	}
	if p.memory == "" {
		return err
	}
	f, cerr := os.Create(p.memory)
	if cerr != nil {
		return errors.Join(err, fmt.Errorf("writing --memory-profile: %w", cerr))
	}
	runtime.GC() // so that it shows what is in use now
	return errors.Join(err, pprof.WriteHeapProfile(f), f.Close())
}
