// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/s3/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>

namespace airstore::gateway {

struct HttpClient::Transfer {
  const HttpRequest* request = nullptr;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  size_t sent = 0;  // of both parts of the body
  bool too_large = false;
  bool done = false;  // guarded by mu_
  CURLcode code = CURLE_OK;
  HttpResponse response;
  char message[CURL_ERROR_SIZE] = {};
};

namespace {

size_t BodyBytes(const HttpRequest& request) {
  return request.body[0].size() + request.body[1].size();
}

int ErrnoOf(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return ETIMEDOUT;
    case CURLE_COULDNT_CONNECT:
      return ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return EHOSTUNREACH;
    case CURLE_OUT_OF_MEMORY:
      return ENOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
      return EPROTO;
    default:
      return ECONNRESET;
  }
}

void InitializeOnce() {
  static const bool done = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  AIRSTORE_CHECK(done);
}

}  // namespace

HttpClient::HttpClient(HttpOptions options)
    : options_(std::move(options)), multi_((InitializeOnce(), curl_multi_init())) {
  AIRSTORE_CHECK(multi_ != nullptr);
  // Kept between requests; not more than are used at once.
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.connections));
  // One request a connection at a time: a lost one takes nobody else along.
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  thread_ = std::thread([this] { Run(); });
}

HttpClient::~HttpClient() {
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
  }
  curl_multi_wakeup(multi_);
  thread_.join();
  curl_multi_cleanup(multi_);
}

Result<HttpResponse> HttpClient::Perform(const HttpRequest& request) {
  Transfer transfer;
  transfer.request = &request;
  std::unique_lock lock(mu_);
  const auto is_free = [this] { return under_way_ < options_.connections; };
  if (request.give_up == std::chrono::steady_clock::time_point::max()) {
    changed_.wait(lock, is_free);
  } else if (!changed_.wait_until(lock, request.give_up, is_free)) {
    return Error{ETIMEDOUT, "no connection was free in time"};
  }
  ++under_way_;
  begun_.push_back(&transfer);
  curl_multi_wakeup(multi_);
  changed_.wait(lock, [&] { return transfer.done; });
  --under_way_;
  changed_.notify_all();
  if (transfer.too_large) return Error{EFBIG, "the answer is larger than expected"};
  if (transfer.code != CURLE_OK) {
    const char* text =
        transfer.message[0] != 0 ? transfer.message : curl_easy_strerror(transfer.code);
    return Error{ErrnoOf(transfer.code), text};
  }
  return std::move(transfer.response);
}

void HttpClient::Run() {
  std::unique_lock lock(mu_);
  while (!stopping_) {
    std::deque<Transfer*> begun;
    begun.swap(begun_);
    lock.unlock();
    for (Transfer* transfer : begun) Begin(*transfer);
    int running = 0;
    curl_multi_perform(multi_, &running);
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      Finish(*transfer, code);
    }
    // Woken by what is new, by sockets, and by curl's own timers.
    curl_multi_poll(multi_, nullptr, 0, 60'000, nullptr);
    lock.lock();
  }
}

void HttpClient::Begin(Transfer& transfer) {
  const HttpRequest& request = *transfer.request;
  CURL* easy = curl_easy_init();
  AIRSTORE_CHECK(easy != nullptr);
  transfer.easy = easy;
  for (const std::string& header : request.headers) {
    transfer.headers = curl_slist_append(transfer.headers, header.c_str());
  }
  // No round trip to ask whether a body is welcome.
  transfer.headers = curl_slist_append(transfer.headers, "Expect:");
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options_.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1024L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall.count()));
  if (request.give_up != std::chrono::steady_clock::time_point::max()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        request.give_up - std::chrono::steady_clock::now());
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     static_cast<long>(std::max<int64_t>(1, left.count())));
  }
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.message);
  // A proxy would be a surprise; whoever wants one has it in front of the endpoint.
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  if (!options_.ca_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  }

  using Write = size_t (*)(char*, size_t, size_t, void*);
  const Write write = [](char* data, size_t, size_t size, void* user) -> size_t {
    auto& to = *static_cast<Transfer*>(user);
    if (to.response.body.size() + size > to.request->largest_answer) {
      to.too_large = true;
      return 0;
    }
    to.response.body.append(data, size);
    return size;
  };
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, write);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  const Write header = [](char* data, size_t, size_t size, void* user) -> size_t {
    const std::string_view line(data, size);
    if (line.size() > 6 && strncasecmp(data, "date: ", 6) == 0) {
      const time_t time = curl_getdate(std::string(line.substr(6)).c_str(), nullptr);
      static_cast<Transfer*>(user)->response.server_time = std::max<int64_t>(time, 0);
    }
    return size;
  };
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);

  if (request.method == "PUT" || request.method == "POST") {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(BodyBytes(request)));
    const Write read = [](char* to, size_t, size_t room, void* user) -> size_t {
      auto& from = *static_cast<Transfer*>(user);
      size_t copied = 0;
      size_t start = 0;  // of the part, in the whole body
      for (const std::string_view part : from.request->body) {
        if (from.sent < start + part.size() && copied < room) {
          const std::string_view rest = part.substr(from.sent - start);
          const size_t some = std::min(rest.size(), room - copied);
          std::memcpy(to + copied, rest.data(), some);
          copied += some;
          from.sent += some;
        }
        start += part.size();
      }
      return copied;
    };
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, read);
    curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
    // A kept connection that turns out to be closed: curl begins again on another one.
    using Seek = int (*)(void*, curl_off_t, int);
    const Seek seek = [](void* user, curl_off_t offset, int origin) -> int {
      if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
      static_cast<Transfer*>(user)->sent = static_cast<size_t>(offset);
      return CURL_SEEKFUNC_OK;
    };
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &transfer);
  }
  if (curl_multi_add_handle(multi_, easy) != CURLM_OK) Finish(transfer, CURLE_OUT_OF_MEMORY);
}

void HttpClient::Finish(Transfer& transfer, int curl_code) {
  long number = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &number);
  transfer.response.status = static_cast<int>(number);
  curl_easy_getinfo(transfer.easy, CURLINFO_NUM_CONNECTS, &number);
  connections_made_ += static_cast<uint64_t>(number);
  curl_multi_remove_handle(multi_, transfer.easy);
  curl_easy_cleanup(transfer.easy);
  curl_slist_free_all(transfer.headers);
  transfer.code = static_cast<CURLcode>(curl_code);
  std::lock_guard lock(mu_);
  transfer.done = true;
  changed_.notify_all();
}

}  // namespace airstore::gateway
