// Reads archives with Go's archive/tar for test/fuzz: each is a length of four bytes and the archive on stdin, and is
// answered with a line of JSON. Byte strings have a character for each byte.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
)

const maxContent = 1024 * 1024

type entry struct {
	Type        string   `json:"type"`
	Path        string   `json:"path"`
	LinkPath    string   `json:"linkPath"`
	Mode        int64    `json:"mode"`
	UID         int      `json:"uid"`
	GID         int      `json:"gid"`
	Size        int64    `json:"size"`
	Content     string   `json:"content"`
	Seconds     int64    `json:"seconds"`
	Nanoseconds int      `json:"nanoseconds"`
	Device      string   `json:"device"`
	Xattrs      []string `json:"xattrs"`
}

type answer struct {
	Entries []entry `json:"entries"`
	Error   string  `json:"error"`
}

func bytesOf(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		out.WriteRune(rune(text[i]))
	}
	return out.String()
}

func read(archive []byte) answer {
	found := answer{Entries: []entry{}}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			found.Error = err.Error()
			return found
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		one := entry{
			Type:        bytesOf(string([]byte{header.Typeflag})),
			Path:        bytesOf(header.Name),
			Mode:        header.Mode & 0o7777,
			UID:         header.Uid,
			GID:         header.Gid,
			Seconds:     header.ModTime.Unix(),
			Nanoseconds: header.ModTime.Nanosecond(),
			Xattrs:      []string{},
		}
		switch header.Typeflag {
		case tar.TypeReg, '\x00', tar.TypeGNUSparse:
			one.Type = "0"
			one.Size = header.Size
			if header.Size <= maxContent {
				hash := sha256.New()
				if _, err := io.Copy(hash, reader); err != nil {
					found.Error = err.Error()
					return found
				}
				one.Content = hex.EncodeToString(hash.Sum(nil))[:16]
			}
		case tar.TypeLink, tar.TypeSymlink:
			one.LinkPath = bytesOf(header.Linkname)
		case tar.TypeChar, tar.TypeBlock:
			one.Device = strconv.FormatInt(header.Devmajor, 10) + ":" + strconv.FormatInt(header.Devminor, 10)
		}
		for key, value := range header.PAXRecords {
			if name, is := strings.CutPrefix(key, "SCHILY.xattr."); is {
				one.Xattrs = append(one.Xattrs, bytesOf(name)+"="+bytesOf(value))
			}
		}
		sort.Strings(one.Xattrs)
		found.Entries = append(found.Entries, one)
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	for {
		var length uint32
		if err := binary.Read(input, binary.BigEndian, &length); err != nil {
			return
		}
		archive := make([]byte, length)
		if _, err := io.ReadFull(input, archive); err != nil {
			return
		}
		if err := encoder.Encode(read(archive)); err != nil {
			return
		}
		output.Flush()
	}
}
