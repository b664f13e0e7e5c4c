package fence

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Cleanup removes the tables of VIPs, or without VIPs all tables of this package, that processes
// left behind. It returns their names. A table of a live process is an error: it has the owner
// flag.
func Cleanup(vips []netip.Addr) (removed []string, err error) {
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
		if !matches(t.Name, vips) {
			continue
		}
		if err := removeTable(t.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, t.Name)
	}
	return removed, errors.Join(errs...)
}

// matches reports whether a table fences one of vips, or any address if there are none.
func matches(table string, vips []netip.Addr) bool {
	name, _, _ := strings.Cut(table, probeMark)
	return strings.HasPrefix(name, tablePrefix) && (len(vips) == 0 ||
		slices.ContainsFunc(vips, func(a netip.Addr) bool { return tableName(a.Unmap()) == name }))
}

// removeTable takes a table over, which requires its own flags, and removes it. The library decodes
// flags in the wrong byte order, so that those of the variants are tried.
func removeTable(name string) error {
	t, err := openTable(name)
	if err != nil {
		return err
	}
	defer t.close()
	err = t.create(Full.flags())
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = t.create(Flushable.flags())
	}
	if err != nil {
		return err
	}
	return t.remove()
}
