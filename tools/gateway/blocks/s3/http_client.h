// SPDX-License-Identifier: Apache-2.0
//
// HTTP requests over kept connections: one thread drives all transfers (curl's multi interface),
// callers block until theirs is done. No more than `connections` are under way at once; others wait
// for their turn, so that connections and memory have a bound.
//
// One attempt is one attempt: whether to try again is for the caller to decide.
//
// Threads: Perform() from any.
// Ownership: owns its thread; the bytes of a request must outlive Perform().
// Fails: ETIMEDOUT (no connection, or nothing moved for `stall`), ECONNRESET and other errnos of
// connections, EFBIG (the answer is larger than was expected).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "shm/base/result.h"

namespace airstore::gateway {

struct HttpOptions {
  size_t connections = 32;
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::seconds stall{10};  // a transfer that is slower than 1 KiB/s for so long is given up
  std::string ca_file;             // empty: the system's
};

struct HttpRequest {
  std::string method;  // GET, PUT, POST, DELETE
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::array<std::string_view, 2> body{};
  size_t largest_answer = 1 << 20;
  // ETIMEDOUT then, wherever it is.
  std::chrono::steady_clock::time_point give_up = std::chrono::steady_clock::time_point::max();
};

struct HttpResponse {
  int status = 0;
  std::string body;
  int64_t server_time = 0;  // of the header Date, in seconds; 0: none
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  Result<HttpResponse> Perform(const HttpRequest& request);
  // How many connections were made so far: shows that they are kept.
  uint64_t connections_made() const { return connections_made_.load(); }

 private:
  struct Transfer;
  void Run();
  void Begin(Transfer& transfer);
  void Finish(Transfer& transfer, int curl_code);

  const HttpOptions options_;
  void* const multi_;  // CURLM
  std::atomic<uint64_t> connections_made_{0};
  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  std::deque<Transfer*> begun_;  // not seen by the thread yet
  size_t under_way_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace airstore::gateway
