// SPDX-License-Identifier: Apache-2.0
//
// Objects of one bucket of an S3 service: signed requests that are tried again, with growing and
// random pauses, for as long as the failure may pass (no connection, resets, stalls, 5xx,
// throttling) and `patience` is not over. A service whose clock differs from ours is asked again by
// its clock.
//
// Threads: any; a call blocks its thread.
// Fails: ENOENT (the service says that there is no such object), EACCES (keys or bucket's policy),
// ENOSPC, EIO, and errnos of connections when patience is over. Messages say what was asked, and
// what the service said.
#pragma once

#include <atomic>
#include <chrono>
#include <ctime>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "tools/gateway/blocks/s3/http_client.h"
#include "tools/gateway/blocks/s3/s3_xml.h"
#include "tools/gateway/blocks/s3/sigv4.h"

namespace airstore::gateway {

struct S3Options {
  std::string endpoint;  // "https://s3.example.org", without a bucket; a port may follow
  std::string bucket;
  std::string region = "us-east-1";
  bool virtual_host = false;  // the bucket is in the host's name, not in the path
  S3Keys keys;
  HttpOptions http;
  std::chrono::milliseconds patience{20'000};
  std::function<int64_t()> unix_seconds;  // empty: this host's clock
};

class S3Client {
 public:
  explicit S3Client(S3Options options);

  // Replaces what was there, as a whole. The service compares what arrives with its SHA-256.
  Result<void> Put(const std::string& name, std::string_view head, std::string_view rest);
  using Time = std::chrono::steady_clock::time_point;
  // `give_up`: earlier than patience would.
  Result<std::string> Get(const std::string& name, size_t largest, Time give_up = Time::max());
  // At most kMostDeleted at once. Answers those that are still there, by their names, and why.
  Result<std::vector<std::pair<std::string, Error>>> Delete(std::span<const std::string> names);
  // One page; `after`: the token of the page before, or empty.
  Result<S3Listing> List(const std::string& prefix, const std::string& after);

  static constexpr size_t kMostDeleted = 1000;
  uint64_t connections_made() const { return http_.connections_made(); }
  uint64_t retries() const { return retries_.load(); }
  // Seconds that the service's clock is ahead of ours, by its last answer that told the time.
  int64_t seconds_ahead() const { return seconds_ahead_.load(); }

 private:
  struct Call {
    std::string method;
    std::string name;  // of the object; empty: the bucket
    NameValues query;
    NameValues headers;
    std::array<std::string_view, 2> body{};
    size_t largest_answer = 1 << 20;
    Time give_up = Time::max();
  };
  Result<std::string> Do(const Call& call);
  HttpRequest Sign(const Call& call, const std::string& payload_sha256) const;
  struct Verdict {
    bool again = false;
    Error error;
  };
  int64_t Now() const { return options_.unix_seconds ? options_.unix_seconds() : time(nullptr); }
  Verdict Judge(const Call& call, const HttpResponse& response);

  const S3Options options_;
  std::string scheme_;
  std::string host_;                     // with the port, and the bucket when it is there
  std::atomic<int64_t> clock_ahead_{0};  // what is signed is ahead of our clock so many seconds
  std::atomic<int64_t> seconds_ahead_{0};
  std::atomic<uint64_t> retries_{0};
  HttpClient http_;
};

}  // namespace airstore::gateway
