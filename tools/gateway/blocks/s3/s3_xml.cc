// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/s3/s3_xml.h"

#include <ctime>
#include <pugixml.hpp>
#include <sstream>

namespace airstore::gateway {
namespace {

// "2013-05-24T00:00:00.123Z", to the second; 0: it is no time.
int64_t ParseTime(const char* text) {
  struct tm utc = {};
  if (strptime(text, "%Y-%m-%dT%H:%M:%S", &utc) == nullptr) return 0;
  return static_cast<int64_t>(timegm(&utc)) * 1'000'000'000;
}

S3Failure FailureFrom(const pugi::xml_node& node) {
  return {node.child_value("Code"), node.child_value("Message"), node.child_value("Key")};
}

}  // namespace

std::optional<S3Listing> ParseListing(std::string_view xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size())) return std::nullopt;
  const pugi::xml_node root = document.child("ListBucketResult");
  if (!root) return std::nullopt;
  S3Listing listing;
  for (const pugi::xml_node& node : root.children("Contents")) {
    listing.objects.push_back(
        {node.child_value("Key"), ParseTime(node.child_value("LastModified"))});
  }
  if (std::string_view(root.child_value("IsTruncated")) == "true") {
    listing.next = root.child_value("NextContinuationToken");
    if (listing.next.empty()) return std::nullopt;
  }
  return listing;
}

S3Failure ParseFailure(std::string_view xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size())) return {};
  return FailureFrom(document.child("Error"));
}

std::optional<std::vector<S3Failure>> ParseDeleted(std::string_view xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size())) return std::nullopt;
  const pugi::xml_node root = document.child("DeleteResult");
  if (!root) return std::nullopt;
  std::vector<S3Failure> failures;
  for (const pugi::xml_node& node : root.children("Error")) failures.push_back(FailureFrom(node));
  return failures;
}

std::string DeleteRequest(std::span<const std::string> names) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("Delete");
  root.append_child("Quiet").text().set(true);
  for (const std::string& name : names) {
    root.append_child("Object").append_child("Key").text().set(name.c_str());
  }
  std::ostringstream text;
  document.save(text, "", pugi::format_raw);
  return text.str();
}

}  // namespace airstore::gateway
