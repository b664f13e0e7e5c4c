package svc

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// BGPObject is a BGPPeer, a BGPAdvertisement or a BFDProfile as the API server has it.
type BGPObject[T any] struct {
	metav1.ObjectMeta // namespace, name, UID, resourceVersion and generation only
	// Value is the decoded object, with the same metadata. Its spec counts if Err is nil.
	Value T
	// Err is why the spec cannot be decoded.
	Err error

	spec string // as it was read
}

func newBGPObject[T any](o *apiclient.RawObject) *BGPObject[T] {
	result := &BGPObject[T]{ObjectMeta: identified(o), spec: string(o.Spec)}
	result.Generation = o.Generation
	return result
}

func readPeer(o *apiclient.RawObject) (*BGPObject[v1alpha1.BGPPeer], bool) {
	result := newBGPObject[v1alpha1.BGPPeer](o)
	result.Value.ObjectMeta = result.ObjectMeta
	result.Err = decodeSpec(v1alpha1.BGPPeerKind, o, &result.Value.Spec)
	result.Value.Status = decodeStatus[v1alpha1.BGPPeerStatus](o)
	return result, true
}

func readAdvertisement(o *apiclient.RawObject) (*BGPObject[v1alpha1.BGPAdvertisement], bool) {
	result := newBGPObject[v1alpha1.BGPAdvertisement](o)
	result.Value.ObjectMeta = result.ObjectMeta
	result.Err = decodeSpec(v1alpha1.BGPAdvertisementKind, o, &result.Value.Spec)
	result.Value.Status = decodeStatus[v1alpha1.BGPAdvertisementStatus](o)
	return result, true
}

func readProfile(o *apiclient.RawObject) (*BGPObject[v1alpha1.BFDProfile], bool) {
	result := newBGPObject[v1alpha1.BFDProfile](o)
	result.Value.ObjectMeta = result.ObjectMeta
	result.Err = decodeSpec(v1alpha1.BFDProfileKind, o, &result.Value.Spec)
	return result, true
}

// decodeSpec decodes the spec of an object. One that the API server has without a spec is empty.
func decodeSpec(kind string, o *apiclient.RawObject, into any) error {
	if len(o.Spec) == 0 {
		return nil
	}
	if err := json.Unmarshal(o.Spec, into); err != nil {
		return fmt.Errorf("%s %s: decode spec: %w", kind, o.Name, err)
	}
	return nil
}

// decodeStatus decodes the status of an object. One that cannot be decoded counts as empty: the
// allocator writes it again.
func decodeStatus[S any](o *apiclient.RawObject) S {
	var status, none S
	if len(o.Status) > 0 && json.Unmarshal(o.Status, &status) != nil {
		return none
	}
	return status
}

// sameBGPObject reports whether b is a with another status or other metadata.
func sameBGPObject[T any](a, b *BGPObject[T]) bool { return a.UID == b.UID && a.spec == b.spec }
