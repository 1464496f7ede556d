// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/s3/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "shm/base/result.h"
#include "tools/gateway/blocks/block_name.h"

namespace airstore::gateway {
namespace {

std::string Hmac(std::string_view key, std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> mac;
  unsigned int size = 0;
  AIRSTORE_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                      reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(),
                      &size) != nullptr);
  return {reinterpret_cast<const char*>(mac.data()), size};
}

// Without blanks around it, and with one where there are several.
std::string Trimmed(std::string_view value) {
  std::string trimmed;
  for (const char c : value) {
    if (c == ' ' && (trimmed.empty() || trimmed.back() == ' ')) continue;
    trimmed.push_back(c);
  }
  if (!trimmed.empty() && trimmed.back() == ' ') trimmed.pop_back();
  return trimmed;
}

NameValues CanonicalHeaders(const NameValues& headers) {
  NameValues canonical;
  for (const auto& [name, value] : headers) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    canonical.emplace_back(std::move(lower), Trimmed(value));
  }
  std::sort(canonical.begin(), canonical.end());
  return canonical;
}

}  // namespace

std::string UriEncode(std::string_view text, bool keep_slashes) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
        c == '.' || c == '_' || c == '~' || (c == '/' && keep_slashes)) {
      encoded.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded.push_back('%');
    encoded.push_back(kHex[byte >> 4]);
    encoded.push_back(kHex[byte & 15]);
  }
  return encoded;
}

std::string CanonicalQuery(const NameValues& query) {
  NameValues encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(UriEncode(name, false), UriEncode(value, false));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string text;
  for (const auto& [name, value] : encoded) {
    if (!text.empty()) text.push_back('&');
    text.append(name).append("=").append(value);
  }
  return text;
}

std::string AmzDate(int64_t unix_seconds) {
  const auto time = static_cast<time_t>(unix_seconds);
  struct tm utc;
  gmtime_r(&time, &utc);
  char text[32];
  return {text, strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc)};
}

std::string Sha256Hex(std::initializer_list<std::string_view> parts) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  AIRSTORE_CHECK(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
  for (const std::string_view part : parts) {
    AIRSTORE_CHECK(EVP_DigestUpdate(context, part.data(), part.size()) == 1);
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  AIRSTORE_CHECK(EVP_DigestFinal_ex(context, digest.data(), nullptr) == 1);
  EVP_MD_CTX_free(context);
  return ToHex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string Authorization(const S3Keys& keys, const SigningScope& scope, std::string_view amz_date,
                          const RequestToSign& request) {
  std::string canonical(request.method);
  canonical.append("\n").append(UriEncode(request.path, true));
  canonical.append("\n").append(CanonicalQuery(request.query)).append("\n");
  std::string signed_names;
  for (const auto& [name, value] : CanonicalHeaders(request.headers)) {
    canonical.append(name).append(":").append(value).append("\n");
    if (!signed_names.empty()) signed_names.push_back(';');
    signed_names.append(name);
  }
  canonical.append("\n").append(signed_names).append("\n").append(request.payload_sha256);

  const std::string_view day = amz_date.substr(0, 8);
  std::string where(day);
  where.append("/").append(scope.region).append("/").append(scope.service).append("/aws4_request");
  std::string to_sign = "AWS4-HMAC-SHA256\n";
  to_sign.append(amz_date).append("\n").append(where).append("\n").append(Sha256Hex({canonical}));

  const std::string day_key = Hmac("AWS4" + keys.secret_key, day);
  const std::string key = Hmac(Hmac(Hmac(day_key, scope.region), scope.service), "aws4_request");
  return "AWS4-HMAC-SHA256 Credential=" + keys.access_key + "/" + where +
         ",SignedHeaders=" + signed_names + ",Signature=" + ToHex(Hmac(key, to_sign));
}

}  // namespace airstore::gateway
