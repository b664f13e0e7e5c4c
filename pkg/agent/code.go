package agent

import (
	"context"
	"errors"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/pkg/apiclient"
)

// errorCode names what went wrong with a request, for the label of a metric: the reason
// that the API server gave, as in "Forbidden", or one of the words here.
func errorCode(err error) string {
	var network net.Error
	reason := apierrors.ReasonForError(err)
	switch {
	case reason != "":
		return string(reason)
	case errors.Is(err, apiclient.ErrNotYet):
		return "NoCredentials"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "Timeout"
	}
	return "Unreachable"
}
