package benchreport

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Table is a CSV file that only grows. Each row is on disk when Add returns, so that an
// interrupted benchmark loses at most the run it was in.
type Table struct {
	Path string
	Rows [][]string // below the header

	header []string
}

// OpenTable reads the file, or begins it. Half a row at its end, left by a crash, is removed.
func OpenTable(path string, header []string) (*Table, error) {
	t := &Table{Path: path, header: header}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return t, t.write([][]string{header})
	}
	if err != nil {
		return nil, err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	if len(whole) < len(text) {
		if err := os.Truncate(path, int64(len(whole))); err != nil {
			return nil, err
		}
	}
	if len(whole) == 0 {
		return t, t.write([][]string{header})
	}
	if t.Rows, err = parse(whole, header); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return t, nil
}

// parse returns the rows below the header, which must be the expected one.
func parse(text []byte, header []string) ([][]string, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = len(header)
	all, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 || strings.Join(all[0], ",") != strings.Join(header, ",") {
		return nil, fmt.Errorf("columns differ, want %s: move the file away", strings.Join(header, ","))
	}
	return all[1:], nil
}

// Add appends a row.
func (t *Table) Add(row []string) error {
	if len(row) != len(t.header) {
		return fmt.Errorf("add row to %s: %d fields, want %d", t.Path, len(row), len(t.header))
	}
	if err := t.write([][]string{row}); err != nil {
		return err
	}
	t.Rows = append(t.Rows, row)
	return nil
}

// write appends and waits for the disk.
func (t *Table) write(rows [][]string) (err error) {
	if err := ensureDir(filepath.Dir(t.Path)); err != nil {
		return err
	}
	f, err := os.OpenFile(t.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := encode(f, rows); err != nil {
		return fmt.Errorf("append to %s: %w", t.Path, err)
	}
	return errors.Join(f.Sync(), ownLikeDir(t.Path))
}

// encode writes all rows at once, so that a crash leaves at most one of them in half.
func encode(out io.Writer, rows [][]string) error {
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		return err
	}
	_, err := out.Write(b.Bytes())
	return err
}

// ensureDir makes a directory that belongs to whom its parent belongs to: root's sudo must not
// leave root's files in a user's tree.
func ensureDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return ownLikeDir(dir)
}

// ownLikeDir gives a file the owner of the directory it is in.
func ownLikeDir(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return os.Lchown(path, int(st.Uid), int(st.Gid))
	}
	return nil
}

// Save replaces a text file, with the owner of its directory.
func Save(path, text string) error {
	if err := ensureDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return ownLikeDir(path)
}
