// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/virtual_tree.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>

#include <fstream>

#include "broker/inode_cache.h"
#include "broker/tree.h"
#include "broker/virtual/generated_node.h"
#include "broker/virtual/inode.h"
#include "broker/virtual/sources_node.h"
#include "broker/virtual/tasks_node.h"
#include "broker/virtual/tools_node.h"

namespace airstore::broker {
namespace {

constexpr size_t kTicketBytes = 16;

std::string NewTicket() {
  unsigned char bytes[kTicketBytes];
  AIRSTORE_CHECK(getrandom(bytes, sizeof bytes, 0) == static_cast<ssize_t>(sizeof bytes));
  std::string text;
  for (const unsigned char byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// Scripts that were read before the broker was replaced go on to work.
std::string TicketIn(const std::string& spool) {
  const std::string path = spool + "/tool-ticket";
  std::string ticket;
  std::ifstream(path) >> ticket;
  if (ticket.size() >= 2 * kTicketBytes) return ticket;
  ticket = NewTicket();
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || write(file.get(), ticket.data(), ticket.size()) < 0) {
    spdlog::warn("{} cannot be written: tools have to be looked up again after a restart", path);
  }
  return ticket;
}

}  // namespace

VirtualTree::VirtualTree(boost::asio::any_io_executor executor, Tasks* tasks,
                         std::shared_ptr<Gateway> storage, const VirtualTreeOptions& options)
    : executor_(executor), tasks_(tasks), services_(storage->services()), options_(options) {
  ticket_ = TicketIn(options.spool);
  socket_path_ = options.socket_directory + "/tools-" + options.session.substr(0, 16) + ".sock";
  const ToolAccess access{options.gateway_address, socket_path_, ticket_, options.shim};
  const auto name = [&options](const char* later, const char* first) {
    return std::string(options.first_era ? first : later);
  };
  VirtualRegistry registry;
  registry.Register(".airstore", MakeConfigNode(access));
  registry.Register(name("Tools", "tools"), MakeToolsNode(services_, access));
  registry.Register(name("Sources", "sources"), MakeSourcesNode(services_, !options.compressed));
  registry.Register(name("Skills", "skills"), nullptr);
  registry.Register("Memory", nullptr);
  registry.Register(name("Tasks", "tasks"), MakeTasksNode(services_));
  overlay_ = std::make_unique<VirtualOverlay>(
      executor, tasks, std::move(storage), std::move(registry),
      VirtualOverlay::Options{options.over_storage, options.io_timeout_ns});
}

VirtualTree::~VirtualTree() = default;

void VirtualTree::Start(Tree* tree, InodeCache* inodes, bool adopted) {
  overlay_->OnChanged([tree](std::vector<uint64_t> changed, std::vector<WatchEvent::Name> names) {
    return tree->ApplyRemote(std::move(changed), std::move(names));
  });
  inodes_ = inodes;
  if (const auto root = inodes->Get(shm::kRootInode)) overlay_->SetOwner(root->uid, root->gid);
  // Whoever listens there has died, or is about to: there is one broker for each state directory.
  (void)unlink(socket_path_.c_str());
  auto server = ToolServer::Listen(executor_, tasks_, socket_path_, ticket_, services_);
  if (server) {
    server_ = std::move(*server);
  } else {
    spdlog::error("tools cannot be run: {}", server.error().ToString());
  }
  if (adopted) {
    tasks_->Spawn(AdoptPaths(tree, inodes));
  } else {
    overlay_->Start();
  }
}

Task<void> VirtualTree::AdoptPaths(Tree* tree, InodeCache* inodes) {
  std::unordered_set<uint64_t> all;
  inodes->EachInode([&all](uint32_t, const shm::InodeRecord& record) {
    if (IsVirtual(record.inode)) all.insert(record.inode);
  });
  if (!all.empty()) overlay_->Adopt(co_await tree->PathsOf(std::move(all)));
  overlay_->Start();
}

void VirtualTree::Stop() {
  overlay_->Stop();
  if (server_) server_->Stop();
}

bool VirtualTree::NamesVirtual(uint64_t parent, const std::string& name) const {
  if (parent != shm::kRootInode || !overlay_->IsShown(name)) return false;
  const uint32_t index = inodes_->meta().FindDentry(parent, name);
  // Storage may have one of the same name.
  return index != shm::kNoIndex && IsVirtual(inodes_->meta().Dentry(index).inode);
}

int VirtualTree::Refusal(const shm::RequestArgs& args, const std::string& name,
                         const std::string& name2) {
  using shm::Op;
  const bool here = IsVirtual(args.inode);
  switch (static_cast<Op>(args.op)) {
    case Op::kSetattr:
    case Op::kSymlink:
    case Op::kTmpfile:
    case Op::kSetxattr:
    case Op::kRemovexattr:
    case Op::kFallocate:
      return here ? EROFS : 0;
    case Op::kMknod:
      return here && !S_ISREG(args.mode) ? EROFS : 0;
    case Op::kOpen:
      return here && ((args.flags & O_ACCMODE) != O_RDONLY || (args.flags & O_TRUNC) != 0) ? EROFS
                                                                                           : 0;
    case Op::kUnlink:
    case Op::kRmdir:
      if (here) return EROFS;
      return NamesVirtual(args.inode, name) ? EPERM : 0;
    case Op::kRename:
      if (NamesVirtual(args.inode, name) || NamesVirtual(args.inode2, name2)) return EPERM;
      if (here && IsVirtual(args.inode2)) return EROFS;
      return here || IsVirtual(args.inode2) ? EXDEV : 0;
    case Op::kLink:
    case Op::kCopyRange:
      return here || IsVirtual(args.inode2) ? EXDEV : 0;
    case Op::kSetLock:
    case Op::kGetLock:
      return here ? ENOLCK : 0;
    default:
      return 0;
  }
}

}  // namespace airstore::broker
