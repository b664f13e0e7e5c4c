package svc

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/printable"
)

// identified returns the metadata that identifies one version of an object.
func identified(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(),
		UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}

// Newer reports whether a was written after b. Both are versions of one object, which API servers
// count up (Kubernetes documentation, "Resource versions").
func Newer(a, b metav1.Object) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	if errX != nil || errY != nil {
		return a.GetResourceVersion() != b.GetResourceVersion()
	}
	return x > y
}

// Brief returns text for a condition or an Event: safe for a terminal although it quotes users, and
// not longer than the API allows.
func Brief(text string) string { return printable.Message(text) }
