package svc

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Newer is whether a was written after b. Both are versions of one object; API servers count them up
// (Kubernetes documentation, "Resource versions").
func Newer(a, b metav1.Object) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	if errX != nil || errY != nil {
		return a.GetResourceVersion() != b.GetResourceVersion()
	}
	return x > y
}
