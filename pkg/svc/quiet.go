package svc

import (
	"log/slog"

	"github.com/go-logr/logr"
)

// quiet returns a logger for client-go that says nothing: what matters of its messages comes back as
// an error, and is logged once by whoever gets that.
func quiet(*slog.Logger) logr.Logger { return logr.Discard() }
