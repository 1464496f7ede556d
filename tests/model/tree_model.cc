// SPDX-License-Identifier: Apache-2.0
#include "tests/model/tree_model.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

namespace airstore::model {
namespace {

constexpr size_t kLongestName = 255;
constexpr int kRoot = 0;
constexpr mode_t kRead = 4;
constexpr mode_t kWrite = 2;
constexpr mode_t kSearch = 1;
constexpr mode_t kSticky = 01000;

std::string LastOf(const std::string& path) { return path.substr(path.find('/') + 1); }

enum class Action : uint8_t { kParent, kParent2, kLookup, kFind, kOpen, kCheck, kAct };

// As the kernel goes about it.
const std::vector<Action>& ActionsOf(Verb verb) {
  using enum Action;
  static const std::vector<Action> name{kParent, kCheck, kAct};
  static const std::vector<Action> file{kParent, kLookup, kCheck, kAct};
  static const std::vector<Action> open{kParent, kLookup, kOpen, kAct};
  static const std::vector<Action> rename{kParent, kParent2, kFind, kCheck, kAct};
  static const std::vector<Action> link{kParent, kLookup, kParent2, kCheck, kAct};
  switch (verb) {
    case Verb::kCreate:
    case Verb::kMkdir:
    case Verb::kSymlink:
    case Verb::kUnlink:
    case Verb::kRmdir:
      return name;
    case Verb::kRename:
    case Verb::kRenameNoReplace:
    case Verb::kRenameExchange:
      return rename;
    case Verb::kLink:
      return link;
    case Verb::kStat:
    case Verb::kChmod:
    case Verb::kChown:
      return file;
    case Verb::kWrite:
    case Verb::kTruncate:
    case Verb::kRead:
      break;
  }
  return open;
}

bool IsRename(Verb verb) {
  return verb == Verb::kRename || verb == Verb::kRenameNoReplace || verb == Verb::kRenameExchange;
}

}  // namespace

const char* NameOf(Verb verb) {
  static const char* const names[kVerbs] = {"create",
                                            "mkdir",
                                            "symlink",
                                            "unlink",
                                            "rmdir",
                                            "rename",
                                            "rename without replacing",
                                            "rename, exchanging",
                                            "link",
                                            "stat",
                                            "chmod",
                                            "chown",
                                            "write",
                                            "truncate",
                                            "read"};
  return names[static_cast<size_t>(verb)];
}

std::string Call::Text() const {
  const auto shown = [](const std::string& name) {
    return name.size() < 20 ? name : name.substr(0, 3) + "...";
  };
  std::string text = std::string(NameOf(verb)) + " " + shown(path);
  if (!path2.empty()) text += " " + shown(path2);
  if (verb == Verb::kCreate || verb == Verb::kMkdir || verb == Verb::kChmod) {
    char octal[16];
    snprintf(octal, sizeof octal, " 0%o", mode);
    text += octal;
  }
  if (verb == Verb::kChown) text += " to " + std::to_string(mode);
  if (verb == Verb::kWrite) text += std::string(" ") + byte;
  return text + " by " + std::to_string(caller);
}

std::string Answer::Text() const {
  std::string text = error == 0 ? "success" : strerrorname_np(error);
  if (!seen.empty()) text += " '" + seen + "'";
  if (inode != 0) text += " inode " + std::to_string(inode);
  return text;
}

TreeModel::TreeModel(mode_t root_mode, Rules rules) : rules_(rules) {
  Node root;
  root.type = 'd';
  root.mode = root_mode;
  root.links = 2;
  nodes_.push_back(root);
}

std::string TreeModel::Progress::Key() const {
  return std::to_string(step) + "," + std::to_string(directory) + "," + std::to_string(node) + "," +
         std::to_string(directory2) + (done ? "d;" : ";");
}

std::string TreeModel::Key() const {
  std::string key;
  for (const Node& node : nodes_) {
    key += node.type + std::to_string(node.mode) + "," + std::to_string(node.owner) + "," +
           std::to_string(node.links) + "," + node.content + "," + std::to_string(node.parent) +
           (node.dead ? "!" : "") + std::to_string(node.real) + ":";
    for (const auto& [name, child] : node.names) key += name + "=" + std::to_string(child) + " ";
    key += ";";
  }
  return key;
}

std::map<std::string, std::string> TreeModel::Listing() const {
  std::map<std::string, std::string> listing;
  const std::function<void(int, const std::string&)> walk = [&](int at, const std::string& path) {
    for (const auto& [name, child] : nodes_[static_cast<size_t>(at)].names) {
      const Node& node = nodes_[static_cast<size_t>(child)];
      listing[path + name] = Describe(node);
      if (node.type == 'd') walk(child, path + name + "/");
    }
  };
  walk(kRoot, "");
  return listing;
}

std::string TreeModel::Describe(const Node& node) const {
  char text[128];
  const size_t size = node.type == 'd' ? 0 : node.content.size();
  snprintf(text, sizeof text, "%c 0%o links %u owner %u size %zu", node.type, node.mode, node.links,
           node.owner, size);
  return text;
}

bool TreeModel::May(uid_t caller, const Node& node, mode_t want) const {
  if (caller == 0 || !checks_) return true;  // nothing here is executed
  const mode_t bits = caller == node.owner ? node.mode >> 6 : node.mode;
  return (bits & want) == want;
}

int TreeModel::Find(int directory, const std::string& name, int* node) const {
  const Node& in = nodes_[static_cast<size_t>(directory)];
  *node = -1;
  if (in.dead) return ENOENT;
  if (name.size() > kLongestName) return ENAMETOOLONG;
  const auto found = in.names.find(name);
  if (found != in.names.end()) *node = found->second;
  return 0;
}

int TreeModel::Parent(const Call& call, const std::string& path, int* directory) const {
  if (!May(call.caller, nodes_[kRoot], kSearch)) return EACCES;
  *directory = kRoot;
  const size_t slash = path.find('/');
  if (slash == std::string::npos) return 0;
  int node = -1;
  if (const int error = Find(kRoot, path.substr(0, slash), &node); error != 0) return error;
  if (node < 0) return ENOENT;
  const Node& found = nodes_[static_cast<size_t>(node)];
  const Node& root = nodes_[kRoot];
  if (found.type == 'l') {
    constexpr mode_t kEverybodys = kSticky | kWrite;
    const bool distrusted = rules_.protected_symlinks && (root.mode & kEverybodys) == kEverybodys &&
                            found.owner != call.caller && found.owner != root.owner;
    return distrusted ? EACCES : ENOENT;  // all symbolic links here lead nowhere
  }
  if (found.type != 'd') return ENOTDIR;
  if (!May(call.caller, found, kSearch)) return EACCES;
  *directory = node;
  return 0;
}

int TreeModel::MayCreate(uid_t caller, int directory) const {
  const Node& in = nodes_[static_cast<size_t>(directory)];
  if (in.dead) return ENOENT;
  return May(caller, in, kWrite | kSearch) ? 0 : EACCES;
}

int TreeModel::MayDelete(uid_t caller, int directory, int node, bool as_directory) const {
  const Node& in = nodes_[static_cast<size_t>(directory)];
  const Node& file = nodes_[static_cast<size_t>(node)];
  if (!May(caller, in, kWrite | kSearch)) return EACCES;
  if (checks_ && (in.mode & kSticky) != 0 && caller != 0 && caller != in.owner &&
      caller != file.owner) {
    return EPERM;
  }
  if (as_directory) return file.type == 'd' ? 0 : ENOTDIR;
  return file.type == 'd' ? EISDIR : 0;
}

bool TreeModel::IsWithin(int directory, int ancestor) const {
  for (; directory >= 0; directory = nodes_[static_cast<size_t>(directory)].parent) {
    if (directory == ancestor) return true;
  }
  return false;
}

bool TreeModel::Learn(int node, uint64_t real) {
  uint64_t& known = nodes_[static_cast<size_t>(node)].real;
  if (real == 0) return true;
  if (known == 0) known = real;
  return known == real;
}

void TreeModel::DropLink(int node) {
  Node& file = nodes_[static_cast<size_t>(node)];
  file.links = file.type == 'd' ? 0 : file.links - 1;
  if (file.type == 'd') file.dead = true;
}

Answer TreeModel::Make(const Call& call, const Answer& real, int directory) {
  const std::string name = LastOf(call.path);
  int node = -1;
  if (const int error = Find(directory, name, &node); error != 0) return {error};
  if (node >= 0) return {EEXIST};
  if (const int error = MayCreate(call.caller, directory); error != 0) return {error};
  Node made;
  made.type = call.verb == Verb::kMkdir ? 'd' : call.verb == Verb::kSymlink ? 'l' : 'f';
  made.mode = made.type == 'l' ? 0777 : call.mode;
  made.owner = call.caller;
  made.links = made.type == 'd' ? 2 : 1;
  made.parent = made.type == 'd' ? directory : -1;
  if (made.type == 'l') made.content = "nowhere";
  made.real = real.inode;
  nodes_.push_back(made);
  Node& in = nodes_[static_cast<size_t>(directory)];
  in.names[name] = static_cast<int>(nodes_.size()) - 1;
  if (made.type == 'd') ++in.links;
  return {0, "", real.inode};
}

int TreeModel::Remove(const Call& call, int directory, bool as_directory) {
  const std::string name = LastOf(call.path);
  int node = -1;
  if (const int error = Find(directory, name, &node); error != 0) return error;
  if (node < 0) return ENOENT;
  if (const int error = MayDelete(call.caller, directory, node, as_directory); error != 0) {
    return error;
  }
  if (as_directory && !nodes_[static_cast<size_t>(node)].names.empty()) return ENOTEMPTY;
  Node& in = nodes_[static_cast<size_t>(directory)];
  in.names.erase(name);
  if (as_directory) --in.links;
  DropLink(node);
  return 0;
}

int TreeModel::CheckRename(const Call& call, int directory, int node, int directory2,
                           int node2) const {
  const bool exchange = call.verb == Verb::kRenameExchange;
  if (node2 >= 0 && call.verb == Verb::kRenameNoReplace) return EEXIST;
  if (node2 < 0 && exchange) return ENOENT;
  if (IsWithin(directory2, node)) return EINVAL;
  if (node2 >= 0 && IsWithin(directory, node2)) return exchange ? EINVAL : ENOTEMPTY;
  if (node == node2) return 0;
  const bool is_directory = nodes_[static_cast<size_t>(node)].type == 'd';
  const bool is_directory2 = node2 >= 0 && nodes_[static_cast<size_t>(node2)].type == 'd';
  if (const int error = MayDelete(call.caller, directory, node, is_directory); error != 0) {
    return error;
  }
  const int allowed = node2 < 0 ? MayCreate(call.caller, directory2)
                                : MayDelete(call.caller, directory2, node2,
                                            exchange ? is_directory2 : is_directory);
  if (allowed != 0) return allowed;
  if (directory != directory2) {
    // Its "..", which changes, is a part of it.
    for (const int moved : {node, exchange ? node2 : -1}) {
      if (moved < 0 || nodes_[static_cast<size_t>(moved)].type != 'd') continue;
      if (!May(call.caller, nodes_[static_cast<size_t>(moved)], kWrite)) return EACCES;
    }
  }
  if (!exchange && is_directory2 && !nodes_[static_cast<size_t>(node2)].names.empty()) {
    return ENOTEMPTY;
  }
  return 0;
}

int TreeModel::Rename(const Call& call, int directory, int directory2) {
  const std::string name = LastOf(call.path);
  const std::string name2 = LastOf(call.path2);
  const bool exchange = call.verb == Verb::kRenameExchange;
  int node = -1;
  int node2 = -1;
  if (const int error = Find(directory, name, &node); error != 0) return error;
  if (node < 0) return ENOENT;
  if (const int error = Find(directory2, name2, &node2); error != 0) return error;
  const int refused = CheckRename(call, directory, node, directory2, node2);
  if (refused != 0 || node == node2) return refused;
  const bool is_directory = nodes_[static_cast<size_t>(node)].type == 'd';
  const bool is_directory2 = node2 >= 0 && nodes_[static_cast<size_t>(node2)].type == 'd';
  Node& from = nodes_[static_cast<size_t>(directory)];
  Node& to = nodes_[static_cast<size_t>(directory2)];
  from.names.erase(name);
  to.names[name2] = node;
  if (is_directory) {
    --from.links;
    ++to.links;
    nodes_[static_cast<size_t>(node)].parent = directory2;
  }
  if (is_directory2) --to.links;
  if (exchange) {
    from.names[name] = node2;
    if (is_directory2) {
      ++from.links;
      nodes_[static_cast<size_t>(node2)].parent = directory;
    }
  } else if (node2 >= 0) {
    DropLink(node2);
  }
  return 0;
}

int TreeModel::Link(const Call& call, int node, int directory) {
  const std::string name = LastOf(call.path2);
  const Node& file = nodes_[static_cast<size_t>(node)];
  int node2 = -1;
  if (const int error = Find(directory, name, &node2); error != 0) return error;
  if (node2 >= 0) return EEXIST;
  if (checks_ && rules_.protected_hardlinks && call.caller != 0 && call.caller != file.owner &&
      (file.type != 'f' || !May(call.caller, file, kRead | kWrite))) {
    return EPERM;
  }
  if (const int error = MayCreate(call.caller, directory); error != 0) return error;
  if (file.type == 'd') return EPERM;
  if (file.links == 0) return ENOENT;
  ++nodes_[static_cast<size_t>(node)].links;
  nodes_[static_cast<size_t>(directory)].names[name] = node;
  return 0;
}

int TreeModel::Open(const Call& call, int node) const {
  const Node& file = nodes_[static_cast<size_t>(node)];
  if (file.type == 'l') return ELOOP;
  if (file.type == 'd' && call.verb != Verb::kRead) return EISDIR;
  return May(call.caller, file, call.verb == Verb::kRead ? kRead : kWrite) ? 0 : EACCES;
}

int TreeModel::Chown(const Call& call, int node) {
  uid_t& owner = nodes_[static_cast<size_t>(node)].owner;
  const auto next = static_cast<uid_t>(call.mode);
  if (checks_ && call.caller != 0 && (call.caller != owner || next != owner)) return EPERM;
  owner = next;
  return 0;
}

Answer TreeModel::Step(const Call& call, const Answer& real, Progress* progress) {
  const Action action = ActionsOf(call.verb)[progress->step++];
  int error = 0;
  if (action == Action::kParent) error = Parent(call, call.path, &progress->directory);
  if (action == Action::kParent2) error = Parent(call, call.path2, &progress->directory2);
  if (action == Action::kLookup) {
    error = Find(progress->directory, LastOf(call.path), &progress->node);
    if (error == 0 && progress->node < 0) error = ENOENT;
  }
  if (action == Action::kOpen) {
    error = Open(call, progress->node);
    // Emptied by the open itself.
    if (error == 0 && call.verb == Verb::kTruncate) {
      nodes_[static_cast<size_t>(progress->node)].content.clear();
    }
  }
  if (action == Action::kFind && rules_.checks_apart) {
    error = Find(progress->directory, LastOf(call.path), &progress->node);
    if (error == 0 && progress->node < 0) error = ENOENT;
  }
  if (action == Action::kCheck && rules_.checks_apart) {
    if (IsRename(call.verb)) {
      int node2 = -1;
      error = Find(progress->directory2, LastOf(call.path2), &node2);
      if (error == 0) {
        error = CheckRename(call, progress->directory, progress->node, progress->directory2, node2);
      }
      const bool moved = nodes_[static_cast<size_t>(progress->node)].type == 'd' ||
                         (node2 >= 0 && nodes_[static_cast<size_t>(node2)].type == 'd');
      if (real.error == ESTALE && moved) error = ESTALE;
      progress->done = progress->node == node2;
      if (error == 0 && progress->done) return {};
    } else {
      error = TreeModel(*this).Act(call, real, *progress).error;
    }
  }
  progress->done = error != 0 || action == Action::kAct;
  if (!progress->done) return {};
  if (error != 0) return {error};
  checks_ = !rules_.checks_apart;
  Answer answer = Act(call, real, *progress);
  checks_ = true;
  return answer;
}

int TreeModel::Chmod(const Call& call, int node) {
  Node& file = nodes_[static_cast<size_t>(node)];
  if (file.type == 'l') return EOPNOTSUPP;
  if (checks_ && call.caller != 0 && call.caller != file.owner) return EPERM;
  file.mode = call.mode;
  return 0;
}

Answer TreeModel::Act(const Call& call, const Answer& real, const Progress& progress) {
  Node* node = progress.node >= 0 ? &nodes_[static_cast<size_t>(progress.node)] : nullptr;
  switch (call.verb) {
    case Verb::kCreate:
    case Verb::kMkdir:
    case Verb::kSymlink:
      return Make(call, real, progress.directory);
    case Verb::kUnlink:
      return {Remove(call, progress.directory, false)};
    case Verb::kRmdir:
      return {Remove(call, progress.directory, true)};
    case Verb::kRename:
    case Verb::kRenameNoReplace:
    case Verb::kRenameExchange:
      return {Rename(call, progress.directory, progress.directory2)};
    case Verb::kLink:
      return {Link(call, progress.node, progress.directory2)};
    case Verb::kStat:
      return {0, Describe(*node), Learn(progress.node, real.inode) ? real.inode : node->real};
    case Verb::kChmod:
      return {Chmod(call, progress.node)};
    case Verb::kChown:
      return {Chown(call, progress.node)};
    case Verb::kWrite:
      node->content =
          node->content.empty() ? std::string(1, call.byte) : call.byte + node->content.substr(1);
      return {0};
    case Verb::kTruncate:
      return {0};
    case Verb::kRead:
      if (node->type == 'd') return {EISDIR};
      return {0, node->content};
  }
  return {ENOSYS};
}

Answer TreeModel::RunAll(const Call& call, const Answer& real) {
  Progress progress;
  for (;;) {
    const Answer answer = Step(call, real, &progress);
    if (progress.done) return answer;
  }
}

}  // namespace airstore::model
