package fakeapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
)

// operation is who wrote fields, as managedFields have it: an apply and an update of one manager are two.
type operation struct{ manager, kind string }

// patchStatus is a server-side apply of an object's status, as far as kvip's need goes: status.loadBalancer
// and the conditions are owned each as a whole; who forces becomes the one owner.
func (s *Store) patchStatus(key, manager string, force bool, body object) (object, error) {
	return s.changeStatus(key, body, func(o object) error {
		by, old, new := operation{manager, "Apply"}, status(o), status(body)
		for _, field := range []string{"loadBalancer", "conditions"} {
			value, given := new[field]
			others := slices.DeleteFunc(owners(o, field), func(w operation) bool { return w == by })
			switch {
			case given && force && !reflect.DeepEqual(old[field], value):
				old[field] = value
				own(o, field, []operation{by})
			case given && len(others) > 0 && field == "loadBalancer" && !reflect.DeepEqual(old[field], value):
				return failure{http.StatusConflict, "Conflict", "Apply failed with 1 conflict: conflict with \"" + others[0].manager + "\": .status.loadBalancer"}
			case given:
				old[field] = value
				own(o, field, append(others, by))
			case len(others) == 0:
				delete(old, field)
				own(o, field, nil)
			default:
				own(o, field, others)
			}
		}
		for field, value := range new {
			if field != "loadBalancer" && field != "conditions" {
				old[field] = value
			}
		}
		return nil
	})
}

// putStatus replaces an object's status; what it changes is the manager's.
func (s *Store) putStatus(key, manager string, body object) (object, error) {
	return s.changeStatus(key, body, func(o object) error {
		old, new := status(o), status(body)
		for _, field := range []string{"loadBalancer", "conditions"} {
			if !reflect.DeepEqual(old[field], new[field]) {
				own(o, field, []operation{{manager, "Update"}})
			}
		}
		o["status"] = new
		return nil
	})
}

// mergeMetadata is a JSON merge patch of an object's finalizers, as far as kvip's need goes: an object that is
// being deleted goes with its last one.
func (s *Store) mergeMetadata(key string, body object) (object, error) {
	changed, err := s.changeStatus(key, body, func(o object) error {
		if list, given := metadata(body)["finalizers"]; given {
			metadata(o)["finalizers"] = list
		}
		return nil
	})
	if list, _ := metadata(changed)["finalizers"].([]any); err == nil && len(list) == 0 && metadata(changed)["deletionTimestamp"] != nil {
		return s.remove(key)
	}
	return changed, err
}

// changeStatus changes the status of an object that is still at the version that the body names, if it
// names one.
func (s *Store) changeStatus(key string, body object, change func(o object) error) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.objects[key]
	if !ok {
		return nil, notFound(key)
	}
	if v := metadata(body)["resourceVersion"]; v != nil && v != metadata(old)["resourceVersion"] {
		return nil, failure{http.StatusConflict, "Conflict", "the object has been modified"}
	}
	o := clone(old)
	if err := change(o); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(o, clone(old)) {
		return old, nil
	}
	return s.put(key, "MODIFIED", o)
}

// owners are who manages a field of the status.
func owners(o object, field string) (all []operation) {
	list, _ := metadata(o)["managedFields"].([]any)
	for _, one := range list {
		entry := one.(object)
		fields := entry["fieldsV1"].(object)["f:status"].(object)
		if _, ok := fields["f:"+field]; ok {
			all = append(all, operation{entry["manager"].(string), entry["operation"].(string)})
		}
	}
	return all
}

// own makes all of them, and nobody else, the managers of a field.
func own(o object, field string, all []operation) {
	list, _ := metadata(o)["managedFields"].([]any)
	list = slices.DeleteFunc(list, func(one any) bool {
		_, ok := one.(object)["fieldsV1"].(object)["f:status"].(object)["f:"+field]
		return ok
	})
	for _, w := range all {
		list = append(list, object{
			"manager": w.manager, "operation": w.kind, "subresource": "status",
			"fieldsType": "FieldsV1", "fieldsV1": object{"f:status": object{"f:" + field: object{}}},
		})
	}
	metadata(o)["managedFields"] = list
}

func status(o object) object {
	s, ok := o["status"].(object)
	if !ok {
		s = object{}
		o["status"] = s
	}
	return s
}

// clone copies an object as JSON would.
func clone(o object) object {
	text, err := json.Marshal(o)
	if err != nil {
		return object{}
	}
	var c object
	_ = json.Unmarshal(text, &c) // it was just made
	return c
}
