// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/s3/s3_client.h"

#include <openssl/evp.h>

#include <algorithm>
#include <ctime>
#include <random>

namespace airstore::gateway {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{3000};

std::string Md5Base64(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  AIRSTORE_CHECK(EVP_Digest(text.data(), text.size(), digest, &size, EVP_md5(), nullptr) == 1);
  unsigned char encoded[2 * EVP_MAX_MD_SIZE];
  const int length = EVP_EncodeBlock(encoded, digest, static_cast<int>(size));
  return {reinterpret_cast<const char*>(encoded), static_cast<size_t>(length)};
}

// Random, so that those who were refused together do not come back together.
std::chrono::milliseconds Pause(int attempt) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  const auto most = std::min(kLongestPause, kFirstPause * (1 << std::min(attempt, 10)));
  return std::chrono::milliseconds(
      std::uniform_int_distribution<int64_t>(most.count() / 2, most.count())(random));
}

}  // namespace

S3Client::S3Client(S3Options options) : options_(std::move(options)), http_(options_.http) {
  const size_t colon = options_.endpoint.find("://");
  scheme_ = options_.endpoint.substr(0, colon);
  host_ = options_.endpoint.substr(colon + 3);
  while (!host_.empty() && host_.back() == '/') host_.pop_back();
  if (options_.virtual_host) host_ = options_.bucket + "." + host_;
}

HttpRequest S3Client::Sign(const Call& call, const std::string& payload_sha256) const {
  const std::string date = AmzDate(Now() + clock_ahead_.load());
  std::string path = options_.virtual_host ? "/" : "/" + options_.bucket;
  if (!options_.virtual_host && !call.name.empty()) path += "/";
  path += call.name;

  RequestToSign to_sign{call.method, path, call.query, call.headers, payload_sha256};
  to_sign.headers.emplace_back("x-amz-content-sha256", payload_sha256);
  to_sign.headers.emplace_back("x-amz-date", date);
  if (!options_.keys.session_token.empty()) {
    to_sign.headers.emplace_back("x-amz-security-token", options_.keys.session_token);
  }
  // As a header of the request, too: curl's own leaves out a port that is usual.
  to_sign.headers.emplace_back("host", host_);
  HttpRequest request;
  request.method = call.method;
  request.body = call.body;
  request.largest_answer = call.largest_answer;
  request.give_up = call.give_up;
  for (const auto& [name, value] : to_sign.headers) request.headers.push_back(name + ": " + value);
  request.headers.push_back("authorization: " +
                            Authorization(options_.keys, {options_.region, "s3"}, date, to_sign));
  request.url = scheme_ + "://" + host_ + UriEncode(path, true);
  if (!call.query.empty()) request.url += "?" + CanonicalQuery(call.query);
  return request;
}

S3Client::Verdict S3Client::Judge(const Call& call, const HttpResponse& response) {
  const S3Failure failure = ParseFailure(response.body);
  std::string said = "S3 " + call.method + " " + options_.bucket + "/" + call.name + ": " +
                     std::to_string(response.status) + " " + failure.code;
  if (!failure.message.empty()) said += " (" + failure.message + ")";
  // Whoever is in between may say 404 too, of something else.
  if (response.status == 404 && failure.code == "NoSuchKey") return {false, {ENOENT, said}};
  if (failure.code == "RequestTimeTooSkewed" && response.server_time != 0) {
    const int64_t ahead = response.server_time - Now();
    // Once more by the service's clock; if that is not it, the answer stands.
    const bool told = std::abs(ahead - clock_ahead_.exchange(ahead)) > 60;
    return {told, {EACCES, said}};
  }
  if (response.status == 401 || response.status == 403) {
    return {false, {failure.code == "QuotaExceeded" ? ENOSPC : EACCES, said}};
  }
  if (response.status == 507) return {false, {ENOSPC, said}};
  const bool again = response.status >= 500 || response.status == 429 || response.status == 408 ||
                     failure.code == "RequestTimeout" || failure.code == "SlowDown";
  return {again, {EIO, said}};
}

Result<std::string> S3Client::Do(const Call& call) {
  const std::string payload = Sha256Hex({call.body[0], call.body[1]});
  const auto give_up = std::min(call.give_up, std::chrono::steady_clock::now() + options_.patience);
  for (int attempt = 0;; ++attempt) {
    auto response = http_.Perform(Sign(call, payload));
    if (response && response->server_time != 0) seconds_ahead_ = response->server_time - Now();
    if (response && response->status >= 200 && response->status < 300) {
      return std::move(response->body);
    }
    Verdict verdict;
    if (response) {
      verdict = Judge(call, *response);
    } else {
      const int code = response.error().code;
      verdict = {code != EFBIG && code != EPROTO && code != ENOMEM,
                 {code, "S3 " + call.method + " " + options_.bucket + "/" + call.name + " at " +
                            host_ + ": " + response.error().message}};
    }
    const auto pause = Pause(attempt);
    if (!verdict.again || std::chrono::steady_clock::now() + pause > give_up) return verdict.error;
    ++retries_;
    std::this_thread::sleep_for(pause);
  }
}

Result<void> S3Client::Put(const std::string& name, std::string_view head, std::string_view rest) {
  Call call{"PUT", name, {}, {{"content-type", "application/octet-stream"}}, {head, rest}};
  auto done = Do(call);
  if (!done) return done.error();
  return {};
}

Result<std::string> S3Client::Get(const std::string& name, size_t largest, Time give_up) {
  Call call{"GET", name, {}, {}, {}};
  call.largest_answer = largest;
  call.give_up = give_up;
  return Do(call);
}

Result<std::vector<std::pair<std::string, Error>>> S3Client::Delete(
    std::span<const std::string> names) {
  std::vector<std::pair<std::string, Error>> kept;
  if (names.empty()) return kept;
  if (names.size() == 1) {
    auto done = Do({"DELETE", names.front(), {}, {}, {}});
    if (!done && done.error().code != ENOENT) return done.error();
    return kept;
  }
  const std::string body = DeleteRequest(names);
  // Asked for by the protocol, whatever else protects the body.
  auto answer = Do({"POST", "", {{"delete", ""}}, {{"content-md5", Md5Base64(body)}}, {body, {}}});
  if (!answer) return answer.error();
  const auto failures = ParseDeleted(*answer);
  if (!failures) return Error{EIO, "S3 deletion: the answer makes no sense"};
  for (const S3Failure& failure : *failures) {
    if (failure.code == "NoSuchKey") continue;
    const Error why{failure.code == "AccessDenied" ? EACCES : EIO,
                    "S3 deletion: " + failure.code + " " + failure.message};
    if (std::find(names.begin(), names.end(), failure.name) == names.end()) return why;
    kept.emplace_back(failure.name, why);
  }
  return kept;
}

Result<S3Listing> S3Client::List(const std::string& prefix, const std::string& after) {
  Call call{"GET", "", {{"list-type", "2"}, {"prefix", prefix}}, {}, {}};
  if (!after.empty()) call.query.emplace_back("continuation-token", after);
  call.largest_answer = 8 << 20;
  auto answer = Do(call);
  if (!answer) return answer.error();
  auto listing = ParseListing(*answer);
  if (!listing) return Error{EIO, "S3 listing: the answer makes no sense"};
  return std::move(*listing);
}

}  // namespace airstore::gateway
