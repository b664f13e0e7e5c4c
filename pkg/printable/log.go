package printable

import "log/slog"

// MaxLogged is how many bytes of a message or a value a log has.
const MaxLogged = 4 << 10

// Attr is for slog.HandlerOptions.ReplaceAttr: it cuts what is too long. A text handler quotes what is
// not printable by itself, and JSON makes that of a JSON handler safe.
func Attr(_ []string, a slog.Attr) slog.Attr {
	if kind := a.Value.Kind(); kind != slog.KindString && kind != slog.KindAny {
		return a
	}
	if text := a.Value.String(); len(text) > MaxLogged {
		a.Value = slog.StringValue(Cut(text, MaxLogged))
	}
	return a
}
