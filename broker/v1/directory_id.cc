// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/directory_id.h"

#include <openssl/sha.h>

#include <array>

namespace airstore::broker::v1 {

std::string GenerateDirectoryId(const std::string& parent, const std::string& name,
                                uint64_t version) {
  const std::string text = parent + ":" + name + ":" + std::to_string(version);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string hex;
  for (const unsigned char byte : digest) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string RootDirectoryId() { return GenerateDirectoryId("", "/", 0); }

}  // namespace airstore::broker::v1
