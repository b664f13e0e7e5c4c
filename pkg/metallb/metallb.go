// Package metallb translates the objects of MetalLB to those of kvip: pools, peers, advertisements
// and timers of BFD. It is pure: it reads text, and applies nothing to a cluster. The names and
// their meaning are those of MetalLB's API metallb.io, v1beta1 and v1beta2.
package metallb

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// Note is a fact about an object that differs in kvip, or what is left to do by hand.
type Note struct {
	// Name is the object, and its field if there is one.
	Name string
	// Text is a clause about it. It quotes no value that may be secret.
	Text string
}

// String returns the note as one line.
func (n Note) String() string { return n.Name + ": " + n.Text }

// maxProblems is how many problems of an input are reported.
const maxProblems = 50

// migration has the objects, and what was found in them.
type migration struct {
	file    string
	objects []object
	read    int // how many objects of any kind were read
	notes   []Note
	errs    []error
	aliases map[string]string
	output  output
}

// output are the objects of kvip, in the order in which they are written.
type output struct {
	profiles       []*v1alpha1.BFDProfile
	peers          []*v1alpha1.BGPPeer
	pools          []*v1alpha1.IPPool
	advertisements []*v1alpha1.BGPAdvertisement
}

// Migrate returns the objects of kvip for those of MetalLB, which are documents of YAML or JSON, or
// items of Lists. A note names what differs. Every problem is a *config.InputError that names the
// object and the field. file is the name for messages.
func Migrate(file string, text []byte) ([]byte, []Note, error) {
	m := &migration{file: file, aliases: map[string]string{}}
	if err := m.readAll(text); err != nil {
		return nil, nil, err
	}
	m.readAliases()
	for _, o := range m.objects {
		switch o.kind {
		case kindBFDProfile:
			m.addProfile(o)
		case kindPeer:
			m.addPeer(o)
		case kindPool:
			m.addPool(o)
		case kindBGP:
			m.addAdvertisement(o)
		}
	}
	m.checkReferences()
	m.checkInterfaces()
	if len(m.errs) > 0 {
		return nil, nil, errors.Join(m.errs...)
	}
	var all []any
	for _, p := range m.output.profiles {
		all = append(all, p)
	}
	for _, p := range m.output.peers {
		all = append(all, p)
	}
	for _, p := range m.output.pools {
		all = append(all, p)
	}
	for _, a := range m.output.advertisements {
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil, nil, &config.InputError{File: file, Problem: "there is no object of MetalLB that " +
			"has a counterpart: give IPAddressPools with their advertisements, BGPPeers and BFDProfiles"}
	}
	var out bytes.Buffer
	if err := manifest.Write(&out, all...); err != nil {
		return nil, nil, err
	}
	return out.Bytes(), m.notes, nil
}

// note records a note about a field of an object; field may be empty.
func (m *migration) note(o object, field, format string, args ...any) {
	m.notes = append(m.notes, Note{o.field(field), fmt.Sprintf(format, args...)})
}

// refuse records a problem.
func (m *migration) refuse(o object, field, format string, args ...any) {
	if len(m.errs) >= maxProblems {
		return
	}
	m.errs = append(m.errs, &config.InputError{
		File: m.file, Document: o.document, Field: o.field(field),
		Problem: fmt.Sprintf(format, args...),
	})
}

// field returns the name of a field with that of its object.
func (o object) field(name string) string {
	return strings.TrimSuffix(strings.TrimSpace(o.kind+" "+o.name)+": "+name, ": ")
}
