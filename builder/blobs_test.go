package builder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/pkg/blobinfocache/memory"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

func TestWithBlobIsBounded(t *testing.T) {
	t.Parallel()
	var list []blob
	for i := range 20 {
		list = withBlob(list, blob{digest.FromString(fmt.Sprint(i % 9)), "gzip", []string{fmt.Sprint("host/", i)}, nil})
	}
	if len(list) != maxBlobs || list[len(list)-1].Digest != digest.FromString("1") {
		t.Errorf("%d blobs, last %v", len(list), list[len(list)-1])
	}
	one := []blob{{digest.FromString("x"), "gzip", nil, nil}}
	for i := range 20 {
		one = withBlob(one, blob{digest.FromString("x"), "gzip", []string{fmt.Sprint("host/", i%15)}, nil})
	}
	if len(one) != 1 || len(one[0].Places) != maxPlaces || one[0].Places[maxPlaces-1] != "host/4" {
		t.Errorf("%+v", one)
	}
}

func TestAlgorithmOf(t *testing.T) {
	t.Parallel()
	toc := map[string]string{chunkedPrefix + "manifest-checksum": "sha256:x", "other": "y"}
	for _, tt := range []struct {
		info types.BlobInfo
		want string
	}{
		{types.BlobInfo{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip"}, "gzip"},
		{types.BlobInfo{MediaType: "application/vnd.oci.image.layer.v1.tar+zstd"}, "zstd"},
		{types.BlobInfo{MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Annotations: toc}, chunked},
		{types.BlobInfo{MediaType: "application/vnd.oci.image.layer.v1.tar"}, ""},
	} {
		if got := algorithmOf(tt.info); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.info, got, tt.want)
		}
	}
}

// The library must believe what recordCompression says, or blobs are uploaded instead of mounted.
func TestRecordCompressionIsTaken(t *testing.T) {
	t.Parallel()
	cache := memory.New()
	d := digest.FromString("blob")
	cache.RecordKnownLocation(docker.Transport, types.BICTransportScope{Opaque: "host"}, d, types.BICLocationReference{Opaque: "host/repo"})
	recordCompression(cache, d, "gzip")
	if text := fmt.Sprintf("%+v", cache); !strings.Contains(text, "BaseVariantCompressor:gzip") {
		t.Errorf("not recorded: %s", text)
	}
}
