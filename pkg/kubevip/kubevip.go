// Package kubevip translates kube-vip's names to kvip's: environment variables and flags,
// annotations of Services, and the keys of its cloud provider's ConfigMap, each in one table. It is
// pure: the caller acts on the result. The names and their meaning are those of kube-vip v0.3 to
// v1.2 and of kube-vip-cloud-provider v0.0.1 to v0.0.12.
package kubevip

// Note is a setting that kvip does not apply as it is written, and what happens instead. Show it
// once.
type Note struct {
	// Name is the variable, the annotation or the key, as kube-vip spells it.
	Name string
	// Text is a clause about it. It quotes no value that may be secret.
	Text string
}

// String returns the note as one line.
func (n Note) String() string { return n.Name + ": " + n.Text }

// Error is a setting that kvip cannot apply.
type Error struct {
	// Name is the variable or annotation, as kube-vip spells it.
	Name string
	// Problem is what is wrong, quoting the value, and what to do.
	Problem string
}

// Error names the setting, the problem and the remedy.
func (e *Error) Error() string { return "kube-vip's " + e.Name + ": " + e.Problem }

func invalid(name, problem string) error { return &Error{Name: name, Problem: problem} }

// Support is how kvip treats a setting of kube-vip.
type Support int

// The kinds of support.
const (
	// Supported is a setting with a counterpart, or one that kvip always satisfies.
	Supported Support = iota
	// Unsupported is a setting without counterpart. kvip ignores it and reports a Note.
	Unsupported
	// Refused is a setting whose loss would change the purpose of the whole: kvip does not start,
	// or leaves the Service unchanged.
	Refused
)

// String returns the word of the documentation.
func (s Support) String() string {
	switch s {
	case Supported:
		return "supported"
	case Unsupported:
		return "no counterpart"
	}
	return "refused"
}
