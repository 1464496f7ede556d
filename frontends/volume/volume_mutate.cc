// SPDX-License-Identifier: Apache-2.0
//
// Operations that change names. All go to the broker, and none is abandoned while it waits: its
// effect would stay behind without anybody who knows.
#include "frontends/volume/stopwatch.h"
#include "frontends/volume/volume.h"

namespace airstore::volume {
namespace {

bool TooLong(std::string_view name) { return name.size() > shm::kMaxName; }

}  // namespace

int Volume::CallForNode(Request& request, const shm::RequestArgs& args, std::string_view name,
                        std::string_view name2, Node* out) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  if (TooLong(name)) return ENAMETOOLONG;
  const bool link = args.op == static_cast<uint32_t>(shm::Op::kLink);
  const uint64_t parent = link ? args.inode2 : args.inode;
  const uint32_t trust = TrustInNames(parent);
  const auto reply = Call(request, args, Wait::kToTheEnd, name, name2);
  if (reply.error != 0) return reply.error;
  shm::InodeRecord record;
  if (Acquire(reply.inode_index, reply.attr.inode, &record)) {
    *out = Present(record, trust);
    return 0;
  }
  return LookupAtBroker(request, parent, name, Wait::kToTheEnd, trust, out);
}

int Volume::CallForNothing(Request& request, const shm::RequestArgs& args, std::string_view name,
                           std::string_view name2) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  if (TooLong(name) || TooLong(name2)) return ENAMETOOLONG;
  return Call(request, args, Wait::kToTheEnd, name, name2).error;
}

int Volume::Mknod(Request& request, uint64_t parent, std::string_view name, uint32_t mode,
                  uint64_t rdev, Node* out) {
  shm::RequestArgs args = Args(shm::Op::kMknod, parent);
  args.mode = mode;
  args.rdev = rdev;
  return CallForNode(request, args, name, {}, out);
}

int Volume::Mkdir(Request& request, uint64_t parent, std::string_view name, uint32_t mode,
                  Node* out) {
  shm::RequestArgs args = Args(shm::Op::kMkdir, parent);
  args.mode = mode;
  return CallForNode(request, args, name, {}, out);
}

int Volume::Symlink(Request& request, uint64_t parent, std::string_view name,
                    std::string_view target, Node* out) {
  return CallForNode(request, Args(shm::Op::kSymlink, parent), name, target, out);
}

int Volume::Link(Request& request, uint64_t inode, uint64_t parent, std::string_view name,
                 Node* out) {
  shm::RequestArgs args = Args(shm::Op::kLink, inode);
  args.inode2 = parent;
  return CallForNode(request, args, name, {}, out);
}

int Volume::Unlink(Request& request, uint64_t parent, std::string_view name) {
  return CallForNothing(request, Args(shm::Op::kUnlink, parent), name, {});
}

int Volume::Rmdir(Request& request, uint64_t parent, std::string_view name) {
  return CallForNothing(request, Args(shm::Op::kRmdir, parent), name, {});
}

int Volume::Rename(Request& request, uint64_t parent, std::string_view name, uint64_t new_parent,
                   std::string_view new_name, uint32_t flags) {
  shm::RequestArgs args = Args(shm::Op::kRename, parent);
  args.inode2 = new_parent;
  args.flags = flags;
  return CallForNothing(request, args, name, new_name);
}

}  // namespace airstore::volume
