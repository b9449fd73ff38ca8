package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Beside the layer of a cached step lies a note, <root>/slipway/cache/<key>: what decided the result, to explain a miss, and when
// the step was executed and last used, which the layer cannot say. The notes are no index: without them everything is
// found as before.

// NoteStep keeps what decided the result of a step that was executed now.
func (s *Store) NoteStep(key string, note []byte) error {
	dir, err := s.dir("cache")
	if err != nil {
		return err
	}
	return replaceFile(dir, key, note)
}

// noteFetched keeps what decided the result of a step that was executed elsewhere, and when.
func (s *Store) noteFetched(key string, note []byte, made time.Time) error {
	if err := s.NoteStep(key, note); err != nil {
		return err
	}
	_ = os.Chtimes(s.notePath(key), s.o.Now(), made) // else it only looks younger
	return nil
}

// NoteListing keeps the listing of a step's nth content (copier.Difference).
func (s *Store) NoteListing(key string, n int, listing string) error {
	dir, err := s.dir("listings")
	if err != nil {
		return err
	}
	return replaceFile(dir, fmt.Sprintf("%s.%d", key, n), []byte(listing))
}

// StepListing returns the listing of a step's nth content, empty where there is none.
func (s *Store) StepListing(key string, n int) string {
	text, _ := os.ReadFile(filepath.Join(s.st.GraphRoot(), "slipway", "listings", fmt.Sprintf("%s.%d", key, n)))
	return string(text)
}

// StepNotes returns the notes that are there, those of the newest steps last.
func (s *Store) StepNotes() [][]byte {
	type note struct {
		made time.Time
		text []byte
	}
	var notes []note
	for _, key := range s.stepKeys() {
		f, err := os.OpenFile(s.notePath(key), os.O_RDONLY|unix.O_NOATIME, 0) // to be read is not to be used
		if err != nil {
			continue
		}
		st, err := f.Stat()
		blob, rerr := io.ReadAll(f)
		f.Close()
		if err == nil && rerr == nil {
			notes = append(notes, note{st.ModTime(), blob})
		}
	}
	slices.SortStableFunc(notes, func(a, b note) int { return a.made.Compare(b.made) })
	list := make([][]byte, len(notes))
	for i, n := range notes {
		list[i] = n.text
	}
	return list
}

// StepNote returns what decided the result of a step, nil where that is not known.
func (s *Store) StepNote(key string) []byte {
	f, err := os.OpenFile(s.notePath(key), os.O_RDONLY|unix.O_NOATIME, 0) // to be read is not to be used
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	return text
}

// stepKeys are the keys that have notes.
func (s *Store) stepKeys() []string {
	entries, _ := os.ReadDir(filepath.Dir(s.notePath("x")))
	var keys []string
	for _, e := range entries {
		if !e.IsDir() && e.Name()[0] != '.' {
			keys = append(keys, e.Name())
		}
	}
	return keys
}

// StepMade is when a cached step was executed; its layer may be older, if an equal one was there already.
func (s *Store) StepMade(key string, l *Layer) time.Time {
	if st, err := os.Stat(s.notePath(key)); err == nil {
		return st.ModTime()
	}
	return l.Created
}

// usedSeldom bounds how often the use of a step is noted: a build that finds everything writes next to nothing.
const usedSeldom = time.Hour

// StepUsed notes that the result of a step was used. Not being able to is no error: the step only looks older.
func (s *Store) StepUsed(key string) {
	st, err := os.Stat(s.notePath(key))
	now := s.o.Now()
	if err == nil && now.Sub(accessed(st)) > usedSeldom {
		_ = os.Chtimes(s.notePath(key), now, st.ModTime()) // the time of use is the access time
	}
}

// stepLastUsed is when a step was executed or used last; ok is false if that is not known.
func (s *Store) stepLastUsed(key string) (time.Time, bool) {
	st, err := os.Stat(s.notePath(key))
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return time.Time{}, false
	}
	if a := accessed(st); a.After(st.ModTime()) {
		return a, true
	}
	return st.ModTime(), true
}

func (s *Store) notePath(key string) string {
	return filepath.Join(s.st.GraphRoot(), "slipway", "cache", key)
}

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.o.Now() }

func accessed(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Atim.Unix())
	}
	return info.ModTime()
}

// LayerFact returns what was kept under a name: what has been found out of a sealed layer, which cannot change.
func (s *Store) LayerFact(name string) (string, bool) {
	blob, err := os.ReadFile(filepath.Join(s.st.GraphRoot(), "slipway", "facts", name))
	return string(blob), err == nil
}

// KeepLayerFact keeps a fact. The name covers the layer's ID and the question.
func (s *Store) KeepLayerFact(name, fact string) error {
	dir, err := s.dir("facts")
	if err != nil {
		return err
	}
	return replaceFile(dir, name, []byte(fact))
}

// replaceFile writes a file that is there in full or not at all.
func replaceFile(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
