package fakeapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// manager is an entry of managedFields: an apply and an update of one name are two managers.
type manager struct{ name, operation string }

// managedFields are the fields of a status whose managers are tracked, each as a whole.
var managedFields = []string{"loadBalancer", "conditions"}

// applyStatus is the part of server-side apply of an object's status that kvip needs. A forced
// change makes the manager the only one.
func (s *Store) applyStatus(path, name string, force bool, body object) (object, error) {
	return s.changeObject(path, body, func(o object) error {
		by, old, applied := manager{name, "Apply"}, status(o), status(body)
		for _, field := range managedFields {
			value, given := applied[field]
			differs := !reflect.DeepEqual(old[field], value)
			others := slices.DeleteFunc(managers(o, field), func(m manager) bool { return m == by })
			switch {
			case given && force && differs:
				old[field] = value
				setManagers(o, field, []manager{by})
			case given && len(others) > 0 && field == "loadBalancer" && differs:
				return apiError{http.StatusConflict, "Conflict", "Apply failed with 1 conflict: " +
					"conflict with \"" + others[0].name + "\": .status.loadBalancer"}
			case given:
				old[field] = value
				setManagers(o, field, append(others, by))
			case len(others) == 0:
				delete(old, field)
				setManagers(o, field, nil)
			default:
				setManagers(o, field, others)
			}
		}
		replaceOthers(o, old, applied)
		return nil
	})
}

// replaceOthers sets the fields whose managers are not tracked. Kvip alone writes the statuses of
// its own kinds, so a field that it does not apply again is removed.
func replaceOthers(o, old, applied object) {
	if version, _ := o["apiVersion"].(string); strings.HasPrefix(version, "kvip.dev/") {
		maps.DeleteFunc(old, func(field string, _ any) bool {
			return !slices.Contains(managedFields, field)
		})
	}
	for field, value := range applied {
		if !slices.Contains(managedFields, field) {
			old[field] = value
		}
	}
}

// updateStatus replaces an object's status. The updater becomes the manager of changed fields.
func (s *Store) updateStatus(path, name string, body object) (object, error) {
	return s.changeObject(path, body, func(o object) error {
		for _, field := range managedFields {
			if !reflect.DeepEqual(status(o)[field], status(body)[field]) {
				setManagers(o, field, []manager{{name, "Update"}})
			}
		}
		o["status"] = status(body)
		return nil
	})
}

// mergeMetadata is a JSON merge patch of an object's finalizers only. Without finalizers, an object
// with a deletionTimestamp is removed.
func (s *Store) mergeMetadata(path string, body object) (object, error) {
	changed, err := s.changeObject(path, body, func(o object) error {
		if list, given := metadata(body)["finalizers"]; given {
			metadata(o)["finalizers"] = list
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list, _ := metadata(changed)["finalizers"].([]any)
	if len(list) == 0 && metadata(changed)["deletionTimestamp"] != nil {
		return s.remove(path)
	}
	return changed, nil
}

// changeObject changes an object if its resourceVersion is that of the body, or if the body has
// none.
func (s *Store) changeObject(path string, body object, change func(object) error) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.objects[path]
	if !found {
		return nil, notFound(path)
	}
	if v := metadata(body)["resourceVersion"]; v != nil && v != metadata(old)["resourceVersion"] {
		return nil, apiError{http.StatusConflict, "Conflict", "the object has been modified"}
	}
	o := clone(old)
	if err := change(o); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(o, clone(old)) {
		return old, nil
	}
	return s.write(path, "MODIFIED", o)
}

// manages reports whether an entry of managedFields includes a field of the status.
func manages(entry any, field string) bool {
	_, found := entry.(object)["fieldsV1"].(object)["f:status"].(object)["f:"+field]
	return found
}

// managers returns the managers of a field of the status.
func managers(o object, field string) (all []manager) {
	list, _ := metadata(o)["managedFields"].([]any)
	for _, entry := range list {
		if manages(entry, field) {
			e := entry.(object)
			all = append(all, manager{e["manager"].(string), e["operation"].(string)})
		}
	}
	return all
}

// setManagers replaces the managers of a field of the status.
func setManagers(o object, field string, all []manager) {
	list, _ := metadata(o)["managedFields"].([]any)
	list = slices.DeleteFunc(list, func(entry any) bool { return manages(entry, field) })
	for _, m := range all {
		list = append(list, object{
			"manager": m.name, "operation": m.operation, "subresource": "status",
			"fieldsType": "FieldsV1",
			"fieldsV1":   object{"f:status": object{"f:" + field: object{}}},
		})
	}
	metadata(o)["managedFields"] = list
}

// clone copies an object by its JSON form.
func clone(o object) object {
	var c object
	text, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil { // objects come from JSON
		panic(err)
	}
	return c
}
