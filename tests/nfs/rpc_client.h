// SPDX-License-Identifier: Apache-2.0
//
// RpcClient: speaks RPC over a TCP connection, word by word, so that tests can say things that no
// client says.
// Fails how: throws std::runtime_error when the connection ends or a reply makes no sense.
// Threads: one.
#pragma once

#include <rpc/rpc.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "frontends/nfs/nfs3.h"
#include "shm/base/fd.h"

namespace airstore::nfs_test {

struct Credentials {
  uint32_t flavor = AUTH_SYS;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups = {};
};

// A reply, and what follows its head.
struct Reply {
  bool denied = false;
  uint32_t status = 0;  // accept_stat, or reject_stat
  uint32_t why = 0;     // auth_stat
  std::string body;

  bool good() const { return !denied && status == SUCCESS; }
};

class RpcClient {
 public:
  explicit RpcClient(uint16_t port);

  void Become(Credentials who) { who_ = std::move(who); }
  uint32_t NextXid() { return ++xid_; }

  // ---- bytes
  void SendBytes(const std::string& bytes);
  // The next record; nothing when the connection has ended.
  std::optional<std::string> ReadRecord();
  // A call as a record, with its mark.
  std::string CallBytes(uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                        const std::string& arguments) const;
  static Reply ParseReply(const std::string& record, uint32_t xid);

  // ---- calls
  Reply Call(uint32_t program, uint32_t version, uint32_t procedure, const std::string& arguments);
  Reply Nfs(nfsproc3 procedure, const std::string& arguments) {
    return Call(NFS3_PROGRAM, NFS3_VERSION, static_cast<uint32_t>(procedure), arguments);
  }

 private:
  UniqueFd socket_;
  Credentials who_;
  uint32_t xid_ = 0;
};

template <typename T>
std::string Code(bool_t (*coder)(XDR*, T*), T value) {
  std::string bytes(sizeof(T) + 16384, '\0');
  XDR out;
  xdrmem_create(&out, bytes.data(), static_cast<u_int>(bytes.size()), XDR_ENCODE);
  if (!coder(&out, &value)) return {};
  bytes.resize(xdr_getpos(&out));
  return bytes;
}

// Takes a reply apart, front to back. What it yields lives as long as this.
class Body {
 public:
  explicit Body(std::string bytes) : bytes_(std::move(bytes)) {
    xdrmem_create(&in_, bytes_.data(), static_cast<u_int>(bytes_.size()), XDR_DECODE);
  }
  template <typename T>
  T Take(bool_t (*coder)(XDR*, T*)) {
    T value{};
    if (!coder(&in_, &value)) throw std::runtime_error("a reply is too short");
    given_.push_back(
        [coder, value]() mutable { xdr_free(reinterpret_cast<xdrproc_t>(coder), &value); });
    return value;
  }
  ~Body() {
    for (const auto& give_back : given_) give_back();
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  nfsstat3 Status() { return Take(xdr_nfsstat3); }
  bool AtEnd() { return xdr_getpos(&in_) == bytes_.size(); }

 private:
  std::string bytes_;
  XDR in_;
  std::vector<std::function<void()>> given_;
};

}  // namespace airstore::nfs_test
