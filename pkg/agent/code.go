package agent

import (
	"context"
	"errors"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

// The words of errorCode beside the API server's reasons. A request that timed out here has the
// API server's word for that.
const (
	codeNoCredentials = "NoCredentials"
	codeUnreachable   = "Unreachable"
)

// errorCode names what went wrong with a request, for the label of a metric: the reason
// that the API server gave, as in "Forbidden", or one of the words here.
func errorCode(err error) string {
	var network net.Error
	reason := apierrors.ReasonForError(err)
	switch {
	case reason != "":
		return string(reason)
	case errors.Is(err, apiclient.ErrNoCredentials):
		return codeNoCredentials
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return string(metav1.StatusReasonTimeout)
	}
	return codeUnreachable
}
