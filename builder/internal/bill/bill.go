// Package bill reads and merges software bills of materials, as scanners write them: CycloneDX and SPDX, both as JSON. It looks
// at the few members that it needs and keeps all others as they are.
package bill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A Strategy says how several documents become one.
type Strategy string

// The strategies (cli.md §8.12).
const (
	Cat       Strategy = "cat"
	CycloneDX Strategy = "merge-cyclonedx-by-component-name-and-version"
	SPDX      Strategy = "merge-spdx-by-package-name-and-versioninfo"
)

// list returns the member of a document that lists what was found, and the one that holds a version there.
func (s Strategy) list() (member, version string) {
	if s == CycloneDX {
		return "components", "version"
	}
	return "packages", "versionInfo"
}

// Check fails for a strategy that there is not.
func (s Strategy) Check() error {
	if !slices.Contains([]Strategy{Cat, CycloneDX, SPDX}, s) {
		return fmt.Errorf("unknown SBOM merge strategy %q: want %s, %s or %s", s, Cat, CycloneDX, SPDX)
	}
	return nil
}

// Merge makes one document of several. The first one is the frame; of the others what it lacks is added to its list, by name and version.
func Merge(s Strategy, docs [][]byte) ([]byte, error) {
	if len(docs) == 1 {
		return docs[0], nil
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s == Cat {
		return bytes.Join(docs, nil), nil
	}
	member, version := s.list()
	var frame map[string]json.RawMessage
	var all []json.RawMessage
	seen := map[[2]string]bool{}
	for i, text := range docs {
		var doc map[string]json.RawMessage
		if err := json.Unmarshal(text, &doc); err != nil {
			return nil, fmt.Errorf("SBOM %d is no JSON object: %w", i+1, err)
		}
		items, err := found(doc, member, version, seen)
		if err != nil {
			return nil, fmt.Errorf("SBOM %d: %w", i+1, err)
		}
		if all = append(all, items...); i == 0 {
			frame = doc
		}
	}
	if all == nil {
		all = []json.RawMessage{}
	}
	list, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	frame[member] = list
	return json.MarshalIndent(frame, "", "  ")
}

// found returns the items of a document's list that were not seen before.
func found(doc map[string]json.RawMessage, member, version string, seen map[[2]string]bool) ([]json.RawMessage, error) {
	var items, fresh []json.RawMessage
	if raw, ok := doc[member]; ok {
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, fmt.Errorf("%s: %w", member, err)
		}
	}
	for _, item := range items {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(item, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", member, err)
		}
		key := [2]string{string(fields["name"]), string(fields[version])}
		if !seen[key] {
			seen[key] = true
			fresh = append(fresh, item)
		}
	}
	return fresh, nil
}

// PURLs returns the package URLs that documents, one behind the other, name, sorted, each once, as the document that the family writes of
// them. What is no document in JSON names none (exact.md, cli.md §8.12).
func PURLs(docs []byte) ([]byte, error) {
	type dependency struct {
		PURL string `json:"purl"`
	}
	var found struct {
		Contents struct {
			Dependencies []dependency `json:"dependencies,omitempty"`
		} `json:"image_contents"`
	}
	var list []string
	for in := json.NewDecoder(bytes.NewReader(docs)); ; {
		var d named
		if err := in.Decode(&d); err != nil {
			break
		}
		list = append(list, d.purls()...)
	}
	slices.Sort(list)
	for _, p := range slices.Compact(list) {
		found.Contents.Dependencies = append(found.Contents.Dependencies, dependency{p})
	}
	return json.Marshal(found)
}

// named is what has package URLs in a document of either kind.
type named struct {
	Components []struct {
		PURL string `json:"purl"`
	} `json:"components"`
	Packages []struct {
		Refs []struct {
			Type    string `json:"referenceType"`
			Locator string `json:"referenceLocator"`
		} `json:"externalRefs"`
	} `json:"packages"`
}

func (d named) purls() (list []string) {
	for _, c := range d.Components {
		list = append(list, c.PURL)
	}
	for _, p := range d.Packages {
		for _, r := range p.Refs {
			if r.Type == "purl" {
				list = append(list, r.Locator)
			}
		}
	}
	return slices.DeleteFunc(list, func(p string) bool { return !strings.HasPrefix(p, "pkg:") })
}
