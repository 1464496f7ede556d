// SPDX-License-Identifier: Apache-2.0
//
// Names of directories in the metadata of the first gateways.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>

namespace airstore::broker::v1 {

// SHA-256 of "parent:name:version", in lower-case hexadecimal digits.
std::string GenerateDirectoryId(const std::string& parent, const std::string& name,
                                uint64_t version);
// Of the root.
std::string RootDirectoryId();

}  // namespace airstore::broker::v1
