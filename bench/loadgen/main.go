// One load generator for two systems: the same clients, keys, sizes and clock for both.
//
// Each client has a connection of its own and one request under way. `write` stores 256 bytes under
// a fresh key and answers when that is durable; `read` is a linearizable read of one of the keys
// that `prepare` stored. One line of JSON on standard output is the result.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	valueBytes   = 256
	preparedKeys = 1000
	requestLimit = 20 * time.Second
)

// connection is one client of one system.
type connection interface {
	write(key int64) error
	read(key int64) error
	close()
}

type result struct {
	System    string  `json:"system"`
	Work      string  `json:"work"`
	Clients   int     `json:"clients"`
	PerSecond float64 `json:"per_second"`
	P50ms     float64 `json:"p50_ms"`
	P99ms     float64 `json:"p99_ms"`
	Failed    int64   `json:"failed"`
}

func main() {
	system := flag.String("system", "faunadb", "faunadb | etcd")
	endpoints := flag.String("endpoints", "", "host:port,host:port,…")
	work := flag.String("work", "write", "prepare | write | read")
	clients := flag.Int("clients", 1, "connections, each with one request under way")
	seconds := flag.Float64("seconds", 5, "measured time")
	warm := flag.Float64("warm", 1, "seconds before the measured time")
	rate := flag.Float64("rate", 0, "requests per second in all; 0 is as fast as answers come")
	flag.Parse()
	places := strings.Split(*endpoints, ",")
	connections := make([]connection, *clients)
	for n := range connections {
		made, err := open(*system, places[n%len(places)])
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s at %s: %v\n", *system, places[n%len(places)], err)
			os.Exit(1)
		}
		connections[n] = made
	}
	if *work == "prepare" {
		prepare(connections[0])
		return
	}
	out := run(connections, *work, *warm, *seconds, *rate)
	out.System, out.Work, out.Clients = *system, *work, *clients
	_ = json.NewEncoder(os.Stdout).Encode(out)
}

func open(system, place string) (connection, error) {
	if system == "etcd" {
		return openEtcd(place)
	}
	return openFauna(place)
}

func prepare(c connection) {
	for key := int64(0); key < preparedKeys; key++ {
		if err := c.write(key); err != nil {
			fmt.Fprintf(os.Stderr, "key %d: %v\n", key, err)
			os.Exit(1)
		}
	}
}

func run(connections []connection, work string, warm, seconds, rate float64) result {
	var failed atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	from := began.Add(time.Duration(warm * float64(time.Second)))
	until := from.Add(time.Duration(seconds * float64(time.Second)))
	taken := make([][]time.Duration, len(connections))
	for n, c := range connections {
		group.Add(1)
		go func() {
			defer group.Done()
			defer c.close()
			random := rand.New(rand.NewSource(int64(n) + began.UnixNano()))
			pause := time.Duration(0)
			if rate > 0 {
				pause = time.Duration(float64(len(connections)) / rate * float64(time.Second))
			}
			next := began.Add(time.Duration(random.Float64() * float64(pause)))
			for {
				if rate > 0 { // latency counts from when it was due, not from when it was sent
					time.Sleep(time.Until(next))
				} else {
					next = time.Now()
				}
				if next.After(until) {
					return
				}
				err := ask(c, work, random)
				ended := time.Now()
				if ended.After(from) && ended.Before(until) {
					if err != nil {
						failed.Add(1)
					} else {
						taken[n] = append(taken[n], ended.Sub(next))
					}
				}
				next = next.Add(pause)
			}
		}()
	}
	group.Wait()
	return summary(taken, failed.Load(), seconds)
}

func ask(c connection, work string, random *rand.Rand) error {
	if work == "write" {
		return c.write(preparedKeys + random.Int63n(1_000_000_000))
	}
	return c.read(random.Int63n(preparedKeys))
}

func summary(taken [][]time.Duration, failed int64, seconds float64) result {
	var all []time.Duration
	for _, of := range taken {
		all = append(all, of...)
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	out := result{Failed: failed, PerSecond: float64(len(all)) / seconds}
	if len(all) > 0 {
		out.P50ms = float64(all[len(all)/2].Microseconds()) / 1000
		out.P99ms = float64(all[len(all)*99/100].Microseconds()) / 1000
	}
	return out
}

var value = strings.Repeat("v", valueBytes)

type etcd struct{ client *clientv3.Client }

func openEtcd(place string) (connection, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{"http://" + place},
		DialTimeout: requestLimit,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		return nil, err
	}
	return etcd{client}, nil
}

func (e etcd) write(key int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	_, err := e.client.Put(ctx, fmt.Sprintf("key-%d", key), value)
	return err
}

func (e etcd) read(key int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	answer, err := e.client.Get(ctx, fmt.Sprintf("key-%d", key))
	if err == nil && len(answer.Kvs) != 1 {
		return fmt.Errorf("key %d is not there", key)
	}
	return err
}

func (e etcd) close() { _ = e.client.Close() }

// fauna speaks HTTP/1.1 over one kept connection.
type fauna struct {
	socket net.Conn
	reader *bufio.Reader
	body   bytes.Buffer
	head   bytes.Buffer
	place  string
}

func openFauna(place string) (connection, error) {
	socket, err := net.DialTimeout("tcp", place, requestLimit)
	if err != nil {
		return nil, err
	}
	return &fauna{socket: socket, reader: bufio.NewReader(socket), place: place}, nil
}

func (f *fauna) write(key int64) error {
	f.body.Reset()
	if key < preparedKeys {
		fmt.Fprintf(&f.body, `{"query":{"fql":["Bench.create({id: ",{"value":{"@int":"%d"}},", key: ",{"value":{"@int":"%d"}},", text: ",{"value":"%s"},"}).id"]}}`, key+1, key, value)
	} else {
		fmt.Fprintf(&f.body, `{"query":{"fql":["Bench.create({key: ",{"value":{"@int":"%d"}},", text: ",{"value":"%s"},"}).id"]}}`, key, value)
	}
	return f.exchange()
}

func (f *fauna) read(key int64) error {
	f.body.Reset()
	fmt.Fprintf(&f.body, `{"query":{"fql":["Bench.byId(",{"value":"%d"},")!.text"]}}`, key+1)
	return f.exchange()
}

func (f *fauna) exchange() error {
	f.head.Reset()
	fmt.Fprintf(&f.head, "POST /query/1 HTTP/1.1\r\nhost: %s\r\nauthorization: Bearer secret\r\nx-format: tagged\r\ncontent-length: %d\r\n\r\n", f.place, f.body.Len())
	f.head.Write(f.body.Bytes())
	_ = f.socket.SetDeadline(time.Now().Add(requestLimit))
	if _, err := f.socket.Write(f.head.Bytes()); err != nil {
		return err
	}
	status, length := "", 0
	for {
		line, err := f.reader.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		if status == "" {
			status = line
		} else if line == "" {
			break
		} else if name, text, found := strings.Cut(line, ":"); found && strings.EqualFold(name, "content-length") {
			if _, err := fmt.Sscan(text, &length); err != nil {
				return err
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(f.reader, body); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200") {
		return fmt.Errorf("%s %s", status, body)
	}
	return nil
}

func (f *fauna) close() { _ = f.socket.Close() }
