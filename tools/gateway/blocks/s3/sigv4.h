// SPDX-License-Identifier: Apache-2.0
//
// Signatures of requests, version 4 of AWS: pure functions of a request, a key and a time.
//
// Why not curl's own: it signs queries as they stand instead of sorted, and encodes odd names
// twice.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace airstore::gateway {

using NameValues = std::vector<std::pair<std::string, std::string>>;

struct S3Keys {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // of temporary keys, or empty
};

struct RequestToSign {
  std::string_view method;
  std::string_view path;  // absolute, not encoded
  NameValues query;       // not encoded, in any order
  NameValues headers;     // all that are signed; "host" and "x-amz-date" must be among them
  std::string_view payload_sha256;  // in hex
};

struct SigningScope {
  std::string_view region;
  std::string_view service;
};

// All but unreserved characters as %XX.
std::string UriEncode(std::string_view text, bool keep_slashes);
// Encoded and sorted: what is signed, and what is sent.
std::string CanonicalQuery(const NameValues& query);
// "20130524T000000Z"
std::string AmzDate(int64_t unix_seconds);
std::string Sha256Hex(std::initializer_list<std::string_view> parts);

// The value of the header Authorization. `amz_date` is that of the header x-amz-date.
std::string Authorization(const S3Keys& keys, const SigningScope& scope, std::string_view amz_date,
                          const RequestToSign& request);

}  // namespace airstore::gateway
