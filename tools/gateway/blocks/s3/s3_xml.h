// SPDX-License-Identifier: Apache-2.0
//
// What S3 services say in XML: listings, errors, what could not be deleted; and what is to be.
// Bytes of a foreign service: anything may come.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace airstore::gateway {

struct S3Object {
  std::string name;
  int64_t modified_ns = 0;
};

struct S3Listing {
  std::vector<S3Object> objects;
  std::string next;  // the token that goes on; empty: this was the end
};

struct S3Failure {
  std::string code;  // "NoSuchKey"; empty: none was said
  std::string message;
  std::string name;  // of the object, in answers to deletions
};

// Nothing: it is no listing, or not a whole one.
std::optional<S3Listing> ParseListing(std::string_view xml);
// Of an answer that is an error.
S3Failure ParseFailure(std::string_view xml);
// What was not deleted. Nothing: it is no answer to a deletion.
std::optional<std::vector<S3Failure>> ParseDeleted(std::string_view xml);

std::string DeleteRequest(std::span<const std::string> names);

}  // namespace airstore::gateway
