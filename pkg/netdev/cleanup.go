package netdev

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Cleanup removes all tables whose name matches, and returns their names. A table is first taken
// over, which requires its own flags: those given are tried, because the library decodes flags in
// the wrong byte order. A table that a live process owns (FlagOwner) is an error.
func Cleanup(matches func(name string) bool, flags ...uint32) (removed []string, err error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var errs []error
	for _, t := range tables {
		if !matches(t.Name) {
			continue
		}
		if err := takeAndRemove(t.Name, flags); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, t.Name)
	}
	return removed, errors.Join(errs...)
}

func takeAndRemove(name string, flags []uint32) error {
	t, err := Open(name)
	if err != nil {
		return err
	}
	defer t.Close()
	for _, f := range flags {
		if err = t.Create(f); !errors.Is(err, unix.EOPNOTSUPP) {
			break
		}
	}
	if err != nil {
		return err
	}
	return t.Remove()
}
