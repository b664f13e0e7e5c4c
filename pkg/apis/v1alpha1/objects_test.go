package v1alpha1

import (
	"fmt"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// declared reports whether a type is a struct of this package.
func declared(of reflect.Type) bool {
	return of.Kind() == reflect.Struct && of.PkgPath() == reflect.TypeFor[IPPool]().PkgPath()
}

// empty returns the paths of fields without a value, in v and in all structs of this package below.
func empty(path string, v reflect.Value) (paths []string) {
	switch {
	case v.IsZero():
		return []string{path}
	case v.Kind() == reflect.Pointer && declared(v.Type().Elem()):
		return empty(path, v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			paths = append(paths, empty(fmt.Sprintf("%s[%d]", path, i), v.Index(i))...)
		}
	case declared(v.Type()):
		for i := range v.NumField() {
			paths = append(paths, empty(path+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
	}
	return paths
}

// TestFullHasEveryField keeps the other tests complete if a field is added.
func TestFullHasEveryField(t *testing.T) {
	for _, r := range resources {
		for _, path := range empty(r.kind, reflect.ValueOf(r.object())) {
			t.Errorf("%s has no value", path)
		}
	}
}

// TestSchemeReadsWhatItWrites encodes and decodes each kind with the codec of clients.
func TestSchemeReadsWhatItWrites(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion() // as for a rest.Config
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(),
		runtime.ContentTypeJSON)
	encoder := codecs.EncoderForVersion(info.Serializer, GroupVersion())
	decoder := codecs.DecoderToVersion(info.Serializer, GroupVersion())
	for _, r := range resources {
		for _, want := range []runtime.Object{r.object(), r.list()} {
			text, err := runtime.Encode(encoder, want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runtime.Decode(decoder, text)
			if err != nil {
				t.Fatal(err)
			}
			// Decoding clears it.
			want.GetObjectKind().SetGroupVersionKind(got.GetObjectKind().GroupVersionKind())
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	}
}

func TestSchemeKnowsItsKindsOnly(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	other := GroupVersion()
	other.Version = "v1"
	for _, r := range resources {
		for _, kind := range []string{r.kind, r.kind + "List"} {
			if !scheme.Recognizes(GroupVersion().WithKind(kind)) {
				t.Errorf("%s is not recognized", kind)
			}
			if scheme.Recognizes(other.WithKind(kind)) {
				t.Errorf("%s of a version that does not exist is recognized", kind)
			}
		}
	}
	if scheme.Recognizes(GroupVersion().WithKind("IPAddressPool")) {
		t.Error("IPAddressPool is recognized")
	}
}

// shared returns the paths of pointers, lists and maps that two values have in common.
func shared(path string, a, b reflect.Value) (paths []string) {
	switch a.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if a.IsNil() {
			return nil
		}
		// The location of a time is one for all.
		if a.Pointer() == b.Pointer() && a.Type().String() != "*time.Location" {
			return []string{path}
		}
	}
	switch a.Kind() {
	case reflect.Pointer:
		return shared(path, a.Elem(), b.Elem())
	case reflect.Slice:
		for i := range a.Len() {
			paths = append(paths, shared(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))...)
		}
	case reflect.Struct:
		for i := range a.NumField() {
			paths = append(paths, shared(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))...)
		}
	}
	return paths
}

// TestCopiesShareNothing compares every list, map and pointer of a copy with that of the original.
func TestCopiesShareNothing(t *testing.T) {
	for _, r := range resources {
		for _, original := range []runtime.Object{r.object(), r.list()} {
			typed := reflect.ValueOf(original).MethodByName("DeepCopy").Call(nil)[0].Interface()
			for _, clone := range []any{original.DeepCopyObject(), typed} {
				if !reflect.DeepEqual(clone, original) {
					t.Errorf("%s: the copy differs: %+v", r.kind, clone)
				}
				for _, path := range shared(r.kind, reflect.ValueOf(original), reflect.ValueOf(clone)) {
					t.Errorf("%s is the same in the copy", path)
				}
			}
		}
	}
	pool := full()
	if same := shared("", reflect.ValueOf(pool), reflect.ValueOf(pool)); len(same) != 1 {
		t.Errorf("the comparison does not see that an object is itself: %q", same)
	}
}

// structs adds the structs of this package in a type.
func structs(of reflect.Type, all map[reflect.Type]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		structs(of.Elem(), all)
	case reflect.Struct:
		if !declared(of) || all[of] {
			return
		}
		all[of] = true
		for i := range of.NumField() {
			structs(of.Field(i).Type, all)
		}
	}
}

// TestCopiesOfNil are nil, in an interface too: callers compare with nil. Copies of empty structs
// are empty.
func TestCopiesOfNil(t *testing.T) {
	all := map[reflect.Type]bool{}
	for _, r := range resources {
		structs(reflect.TypeOf(r.object()), all)
		structs(reflect.TypeOf(r.list()), all)
	}
	if len(all) < 20 {
		t.Errorf("found %d structs", len(all))
	}
	for of := range all {
		none := reflect.Zero(reflect.PointerTo(of))
		for _, name := range []string{"DeepCopy", "DeepCopyObject"} {
			method := none.MethodByName(name)
			if name == "DeepCopyObject" && !method.IsValid() {
				continue // only whole objects and lists have it
			}
			if clone := method.Call(nil)[0]; !clone.IsNil() {
				t.Errorf("%s of a nil %s is %v", name, of.Name(), clone)
			}
		}
		clone := reflect.New(of).MethodByName("DeepCopy").Call(nil)[0].Elem()
		if !reflect.DeepEqual(clone.Interface(), reflect.Zero(of).Interface()) {
			t.Errorf("the copy of an empty %s is %+v", of.Name(), clone)
		}
	}
}
