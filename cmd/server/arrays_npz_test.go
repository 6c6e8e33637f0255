package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"

	"gather/internal/bucket/buckettest"
)

// npzOf returns an .npz file with members, stored or deflated.
func npzOf(t *testing.T, deflated bool, members map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range members {
		h := zip.FileHeader{Name: name + ".npy", Method: zip.Store, CRC32: crc32.ChecksumIEEE(data)}
		if deflated {
			h.Method = zip.Deflate
		}
		w, err := z.CreateHeader(&h)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Members of .npz files are arrays, along any axis and in part, and damage fails the job.
func TestNPZ(t *testing.T) {
	for name, start := range map[string]func(*testing.T) buckettest.Store{"directory": buckettest.Directory, "s3": buckettest.Server} {
		t.Run(name, func(t *testing.T) {
			st := start(t)
			table := int32s(t, 100_000, 3, 7)
			copy(table[len(table)-12:], []byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0})
			members := map[string][]byte{"table": table, "text": []byte("not an array"), "one": int32s(t, 1, 1, 5)}
			for _, deflated := range []bool{false, true} {
				st.Write(t, fmt.Sprintf("%t.npz", deflated), npzOf(t, deflated, members))
				st.Write(t, fmt.Sprintf("one-%t.npz", deflated), npzOf(t, deflated, map[string][]byte{"x": members["one"]}))
			}
			damaged := npzOf(t, true, map[string][]byte{"table": table})
			damaged[len(damaged)/3] ^= 16
			st.Write(t, "damaged.npz", damaged)
			st.Write(t, "text.npz", []byte("PK\x03\x04"))
			api, _ := serveBucket(t, st.Allow)
			const sums = "[699994 699995 699996]"
			for _, tt := range []struct {
				file, fields, axis string
				status             int
				want               string
			}{
				{"%t.npz", `"member":"table"`, "0", http.StatusOK, sums},
				{"%t.npz", `"member":"table.npy","chunks":[1000,2],"select":[{"step":1000}]`, "1", http.StatusOK, "21 21"},
				{"%t.npz", `"member":"table","select":[{"start":-1,"stop":-3,"step":-1}]`, "1", http.StatusOK, "[6 21]"},
				{"one-%t.npz", `"chunks":1`, "null", http.StatusOK, "5"},
				{"%t.npz", `"chunks":1`, "null", http.StatusUnprocessableEntity, "/array/url: is not an .npz file that can be read: set member: its arrays are "},
				{"%t.npz", `"member":"none"`, "null", http.StatusUnprocessableEntity, `/array/url: is not an .npz file that can be read: it has no member "none": its arrays are `},
				{"%t.npz", `"member":"text"`, "null", http.StatusUnprocessableEntity, "/array/url: npy: not an acceptable .npy file"},
				{"%t.npz", `"member":1`, "null", http.StatusUnprocessableEntity, "/array/member: is not a string"},
				{"text.npz", `"member":"x"`, "null", http.StatusUnprocessableEntity, "it has no directory at its end"},
				{"none.npz", `"member":"x"`, "null", http.StatusUnprocessableEntity, "there is no such object"},
				{"damaged.npz", `"member":"table"`, "null", http.StatusOK, "source-corrupt"},
			} {
				for _, deflated := range []bool{false, true} {
					file := strings.ReplaceAll(tt.file, "%t", fmt.Sprint(deflated))
					status, v := call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil,
						`{"kind":"array_sum","array":{"source":"npz","url":%q,%s},"axis":%s}`, st.URL(file), tt.fields, tt.axis), "Prefer", "wait=30")
					got := fmt.Sprint(v["result"])
					if failedAs(v, "source-corrupt") {
						got = "source-corrupt"
					}
					if e, ok := v["errors"].([]any); ok {
						fault := e[0].(map[string]any)
						got = fmt.Sprint(fault["pointer"], ": ", fault["detail"])
					}
					if status != tt.status || !strings.Contains(got, tt.want) {
						t.Errorf("%s, %s: got %d %s, want %d %s", file, tt.fields, status, got, tt.status, tt.want)
					}
				}
			}
		})
	}
}
