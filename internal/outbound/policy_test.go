package outbound_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gather/internal/outbound"
)

func policy(t testing.TB, list string) *outbound.Policy {
	t.Helper()
	p, err := outbound.ParsePolicy(strings.Split(list, ","))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The address table: which addresses a connection may be made to. The first column of networks is what the policy has.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		name, address string
		public        bool
		listed        string // a network that allows it
	}{
		{"public IPv4", "93.184.216.34:443", true, ""},
		{"public IPv6", "[2606:2800:220:1::1]:443", true, ""},
		{"any port", "93.184.216.34:9999", true, ""},
		{"loopback", "127.0.0.1:80", false, "127.0.0.0/8"},
		{"loopback, not .1", "127.8.9.1:80", false, "127.0.0.0/8"},
		{"loopback IPv6", "[::1]:80", false, "::1"},
		{"unspecified", "0.0.0.0:80", false, "0.0.0.0"},
		{"unspecified IPv6", "[::]:80", false, "::"},
		{"this network", "0.1.2.3:80", false, "0.0.0.0/8"},
		{"private 10", "10.1.2.3:80", false, "10.1.0.0/16"},
		{"private 172", "172.16.0.1:80", false, "172.16.0.0/12"},
		{"private 172, end", "172.31.255.255:80", false, "172.16.0.0/12"},
		{"after private 172", "172.32.0.1:80", true, ""},
		{"private 192", "192.168.1.1:80", false, "192.168.1.1"},
		{"shared (CGNAT)", "100.64.0.1:80", false, "100.64.0.0/10"},
		{"link-local", "169.254.1.1:80", false, "169.254.0.0/16"},
		{"metadata of clouds", "169.254.169.254:80", false, "169.254.169.254"},
		{"metadata of Alibaba", "100.100.100.200:80", false, "100.64.0.0/10"},
		{"metadata of AWS, IPv6", "[fd00:ec2::254]:80", false, "fd00:ec2::254"},
		{"unique local", "[fc00::1]:80", false, "fc00::/7"},
		{"link-local IPv6", "[fe80::1]:80", false, "fe80::/10"},
		{"site-local IPv6", "[fec0::1]:80", false, "fec0::/10"},
		{"multicast", "224.0.0.1:80", false, "224.0.0.0/4"},
		{"multicast IPv6", "[ff02::1]:80", false, "ff00::/8"},
		{"broadcast", "255.255.255.255:80", false, "255.255.255.255"},
		{"reserved", "240.0.0.1:80", false, "240.0.0.0/4"},
		{"documentation", "192.0.2.1:80", false, "192.0.2.0/24"},
		{"documentation IPv6", "[2001:db8::1]:80", false, "2001:db8::/32"},
		{"benchmarks", "198.18.0.1:80", false, "198.18.0.0/15"},
		{"protocol assignments", "192.0.0.1:80", false, "192.0.0.0/24"},
		{"IPv4-mapped loopback", "[::ffff:127.0.0.1]:80", false, "127.0.0.0/8"},
		{"IPv4-mapped private", "[::ffff:10.1.2.3]:80", false, "10.1.0.0/16"},
		{"IPv4-mapped metadata", "[::ffff:169.254.169.254]:80", false, "169.254.169.254"},
		{"IPv4-mapped public", "[::ffff:93.184.216.34]:80", true, ""},
		{"IPv4-compatible", "[::7f00:1]:80", false, "::/96"},
		{"NAT64 of loopback", "[64:ff9b::7f00:1]:80", false, "64:ff9b::/96"},
		{"6to4 of loopback", "[2002:7f00:1::]:80", false, "2002::/16"},
		{"Teredo", "[2001:0:1::1]:80", false, "2001::/32"},
		{"zone", "[fe80::1%25eth0]:80", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to, err := netip.ParseAddrPort(strings.Replace(tt.address, "%25", "%", 1))
			if err != nil {
				t.Fatal(err)
			}
			if got := policy(t, "api.example,*.internal.example:8443").Connects(to); got != tt.public {
				t.Errorf("a connection to %s with hosts only: got %v, want %v", to, got, tt.public)
			}
			if got := policy(t, "*").Connects(to); got != tt.public {
				t.Errorf("a connection to %s with any host: got %v, want %v", to, got, tt.public)
			}
			if tt.listed == "" {
				return
			}
			if got := policy(t, tt.listed).Connects(to); !got {
				t.Errorf("a connection to %s with %s: got %v, want true", to, tt.listed, got)
			}
			bracketed := tt.listed
			if strings.Contains(bracketed, ":") {
				bracketed = "[" + bracketed + "]"
			}
			for port, want := range map[string]bool{":80": true, ":81": false} {
				if got := policy(t, bracketed+port).Connects(to); got != want {
					t.Errorf("a connection to %s with %s: got %v, want %v", to, bracketed+port, got, want)
				}
			}
		})
	}
}

func TestAllow(t *testing.T) {
	const list = "api.example,*.internal.example:8443,10.1.0.0/16,[fd00::/8]:8080,Upper.Example:80"
	for link, want := range map[string]bool{
		"https://api.example/x": true, "http://api.example": true, "http://api.example:9999/": true, "http://API.Example./": true,
		"http://www.api.example/": false, "http://api.example.evil/": false, "http://xapi.example/": false,
		"https://a.internal.example:8443/": true, "https://a.b.internal.example:8443/": true,
		"https://a.internal.example/": false, "https://internal.example:8443/": false, "https://.internal.example:8443/": false,
		"https://xinternal.example:8443/": false,
		"http://10.1.2.3/":                true, "http://10.1.2.3:99/": true, "http://10.2.2.3/": false, "http://[::ffff:10.1.2.3]/": true,
		"http://[fd00::1]:8080/": true, "http://[fd00::1]/": false, "http://127.0.0.1/": false, "http://93.184.216.34/": false,
		"http://167837187/": false, "http://0x0a010203/": false, "http://10.1/": false, "http://012.1.2.3/": false,
		"http://upper.example/": true, "https://upper.example/": false, "http://api.example:0/": false, "http://api.example:99999/": false,
	} {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		if got := policy(t, list).Allow(u) == nil; got != want {
			t.Errorf("%s: got %v, want %v", link, got, want)
		}
		if new(outbound.Policy).Allow(u) == nil {
			t.Errorf("%s is allowed by an empty policy", link)
		}
	}
}

func TestPolicyFaults(t *testing.T) {
	for _, text := range []string{
		"", " ", "a b", "http://a", "a/b", "a:0", "a:99999", "a:x", "*.", "a.*", "**.a", "*.*", "10.1.2.3/16", "10.0.0.0/33", "fe80::1%eth0",
		"::ffff:0:0/96", "[10.0.0.0/8]", "[::1", "-a.example", "a..b", "10.1", "0x7f000001", strings.Repeat("a", 64) + ".example",
	} {
		if _, err := outbound.ParsePolicy([]string{text}); err == nil {
			t.Errorf("%q is an entry, want an error", text)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	for _, text := range []string{"api.example", "*.a:1", "*", "10.0.0.0/8:80", "[::1]:2", "::/0"} {
		f.Add(text, "http://api.example:80/")
	}
	f.Fuzz(func(_ *testing.T, text, link string) {
		p, err := outbound.ParsePolicy([]string{text})
		u, invalid := url.Parse(link)
		if err != nil || invalid != nil {
			return
		}
		_ = p.Allow(u)
	})
}
