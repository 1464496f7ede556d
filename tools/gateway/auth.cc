// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/auth.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include "broker/log_event.h"
#include "shm/base/fd.h"
#include "shm/base/wipe.h"
#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

constexpr char kBase64Url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr size_t kMaxSecret = 512;
const Error kRefused{EACCES, "missing or invalid token"};

std::string RandomText(size_t characters) {
  std::string text(characters, '\0');
  AIRSTORE_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(text.data()),
                            static_cast<int>(text.size())) == 1);
  for (char& c : text) c = kBase64Url[static_cast<unsigned char>(c) & 63];
  return text;
}

bool SameHash(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<std::string> ReadSecret(int fd, const std::string& path) {
  char buffer[kMaxSecret];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n < 0) return SysError("read " + path);
  std::string secret(buffer, static_cast<size_t>(n));
  OPENSSL_cleanse(buffer, sizeof buffer);
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.size() < 16) return Error{EINVAL, path + " holds no usable secret"};
  return secret;
}

}  // namespace

std::string NewSecret() { return "ast_" + RandomText(43); }
std::string NewTokenId() { return "tok_" + RandomText(12); }

std::string HashSecret(std::string_view secret) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(secret.data()), secret.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return hash;
}

Result<std::string> LoadOrCreateAdminSecret(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) {
    struct stat st;
    if (fstat(fd.get(), &st) != 0) return SysError("stat " + path);
    if ((st.st_mode & 077) != 0) return Error{EPERM, path + " is accessible to others (chmod 600)"};
    return ReadSecret(fd.get(), path);
  }
  if (errno != ENOENT) return SysError("open " + path);
  fd.reset(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return SysError("create " + path);
  std::string secret = NewSecret();
  std::string line = secret + "\n";
  const WipeAtEnd wipe(line);
  if (write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      fsync(fd.get()) != 0) {
    return SysError("write " + path);
  }
  return secret;
}

Result<Caller> Authenticator::Authenticate(std::string_view header, std::string_view peer) {
  constexpr std::string_view kScheme = "Bearer ";
  if (!header.starts_with(kScheme) || header.size() == kScheme.size() ||
      header.size() > kMaxSecret) {
    return kRefused;
  }
  const std::string hash = HashSecret(header.substr(kScheme.size()));
  if (peer.empty()) return Find(hash);
  const std::string address = AddressOf(peer);
  if (const auto seconds = failed_.Blocked(address, hash, SteadyNow())) {
    return Error{EAGAIN, "too many invalid tokens came from this address: try again in " +
                             std::to_string(*seconds) + " s"};
  }
  auto caller = Find(hash);
  if (caller) {
    failed_.Accepted(address, hash);
  } else if (caller.error().code == EACCES && failed_.Failed(address, SteadyNow())) {
    broker::LogEvent(spdlog::level::warn, {{"address", address}},
                     "too many invalid tokens from {}: one a second is looked at from now on",
                     address);
  }
  return caller;
}

Result<Caller> Authenticator::Find(std::string_view hash) {
  if (SameHash(hash, admin_hash_)) return Caller{true, 0, "admin", false, "", ""};
  const auto found = UntilNoConflict([&]() -> Result<std::optional<TokenRecord>> {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    auto token = (*reader)->FindToken(hash);
    AIRSTORE_TRY((*reader)->status());
    return token;
  });
  if (!found) return found.error();
  const auto& token = *found;
  if (!token || !SameHash(token->hash, hash) || token->revoked_ns != 0) return kRefused;
  if (token->expires_ns != 0 && token->expires_ns <= WallClockNs()) return kRefused;
  return Caller{false,     token->workspace, token->principal, token->read_only,
                token->id, token->member};
}

}  // namespace airstore::gateway
