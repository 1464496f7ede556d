// SPDX-License-Identifier: Apache-2.0
//
// Site: what the parts of a v1 session share.
//
// Threads: the event loop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "broker/names.h"
#include "broker/v1/aging.h"
#include "broker/v1/block_store.h"
#include "broker/v1/noting_client.h"
#include "broker/v1/session_state.h"

namespace airstore::broker::v1 {

struct Site {
  Site(boost::asio::any_io_executor loop, std::unique_ptr<ContextClient> context,
       std::chrono::milliseconds age)
      : executor(loop),
        client(std::make_unique<NotingClient>(std::move(context))),
        aging(loop, age) {}

  // What is at a path, as attributes of that number. Noted as told to the session.
  Attr Describe(uint64_t inode, const Info& info, std::string target);
  // Of a file's content, so far as v1 tells contents apart; never 0. What only we have touched
  // keeps its version.
  uint64_t VersionOf(uint64_t inode, const Info& info) const;
  // The file has other times at the gateway because of us, and the content that it had.
  void Retouched(uint64_t inode, const Info& before, const Info& after,
                 std::optional<int64_t> mtime_ns);
  int64_t ModifiedNs(uint64_t inode, const Info& info) const;
  // Where it is, if a directory above is being moved there; nullopt: none is.
  std::optional<std::string> MovedPath(const std::string& path) const;
  bool exact() const { return client->manners().exact; }
  std::optional<std::string> PathOf(uint64_t parent, const std::string& name) const;

  boost::asio::any_io_executor executor;
  std::unique_ptr<NotingClient> client;
  std::unique_ptr<SessionState> state;
  BlockStore blocks;
  Aging aging;
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t opened_ns = 0;
  // Listings show symbolic links as files, modes are not kept, creating empties what is there.
  bool first_era = false;
  bool keeps_modes = true;                  // until the gateway is found not to
  std::unordered_map<uint64_t, Info> seen;  // of regular files, as the gateway told last
  // A directory that is being renamed name by name: what is not there may be here.
  std::optional<std::pair<std::string, std::string>> renaming;
};

}  // namespace airstore::broker::v1
