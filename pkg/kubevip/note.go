package kubevip

// Note is a setting that kvip does not carry out as it is written, and what happens instead. It is to be shown once.
type Note struct {
	// Name is the variable, the annotation or the key, as kube-vip spells it.
	Name string
	// Text is a clause about it. It never quotes a value that may be secret.
	Text string
}

// String returns the note as one line.
func (n Note) String() string { return n.Name + ": " + n.Text }

// Error is a setting that kvip cannot work with.
type Error struct {
	// Name is the variable or annotation, as kube-vip spells it.
	Name string
	// Problem says what is wrong, quoting the value, and what to do.
	Problem string
}

// Error names the setting, the problem and the way out.
func (e *Error) Error() string { return "kube-vip's " + e.Name + ": " + e.Problem }

// refuse returns an Error.
func refuse(name, problem string) error { return &Error{Name: name, Problem: problem} }

// Support is what becomes of a setting of kube-vip's.
type Support int

// The fates.
const (
	// Supported is a setting that has a counterpart, or that kvip keeps without being told.
	Supported Support = iota
	// Unsupported is a setting without counterpart: kvip works, otherwise than asked, and says so.
	Unsupported
	// Refused is a setting that cannot be left out without breaking what it was for: kvip does not start, or leaves
	// the Service as it is.
	Refused
)

// String returns the word that the documentation has for it.
func (f Support) String() string {
	switch f {
	case Supported:
		return "understood"
	case Unsupported:
		return "no counterpart"
	}
	return "refused"
}
