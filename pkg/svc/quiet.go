package svc

import "github.com/go-logr/logr"

// quiet returns a logger for client-go that says nothing: what matters of its messages comes back as
// an error, and is logged once by whoever gets that.
func quiet() logr.Logger { return logr.Discard() }
