// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/completion.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "tools/airctl/command_line.h"

namespace airstore::airctl {
namespace {

struct Entry {
  std::string word;
  std::string help;
};
// A command by its words ("", "mount", "token create") and what may follow it.
struct Node {
  std::string path;
  std::vector<Entry> commands;
  std::vector<Entry> flags;
};

std::string FirstLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  // Quotes and brackets mean something in every shell's own way.
  for (const char c : {'\'', '"', '[', ']', ':'}) {
    text.erase(std::remove(text.begin(), text.end(), c), text.end());
  }
  return text;
}

void Walk(const CLI::App& app, const std::string& path, std::vector<Node>& out) {
  Node node{path, {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      node.flags.push_back({"--" + name, FirstLine(option->get_description())});
    }
  }
  if (!path.empty()) {
    node.flags.push_back({"--socket", "The brokers socket"});
    node.flags.push_back({"--json", "Print JSON"});
  }
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* command : commands) {
    node.commands.push_back({command->get_name(), FirstLine(command->get_description())});
  }
  out.push_back(std::move(node));
  for (const CLI::App* command : commands) {
    Walk(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), out);
  }
}

std::vector<Node> Nodes() {
  Invocation unused;
  const auto app = MakeParser(unused);
  std::vector<Node> nodes;
  Walk(*app, "", nodes);
  return nodes;
}

std::string Words(const std::vector<Entry>& entries) {
  std::string out;
  for (const Entry& entry : entries) out += (out.empty() ? "" : " ") + entry.word;
  return out;
}

// Paths of our mounts, for the commands that take one.
constexpr char kMounts[] =
    "awk '$3 == \"fuse.airstore\" || $1 ~ /^127.0.0.1:.airstore-/ {print $2}' /proc/self/mounts "
    "2>/dev/null";

std::string Bash() {
  std::string out =
      "# bash completion for airctl\n"
      "_airctl() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= word i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    word=${COMP_WORDS[i]}\n"
      "    case \"$path/$word\" in\n";
  for (const Node& node : Nodes()) {
    if (node.path.empty()) continue;
    const size_t space = node.path.find(' ');
    out += "      \"" +
           (space == std::string::npos
                ? "/" + node.path
                : node.path.substr(0, space) + "/" + node.path.substr(space + 1)) +
           "\") path=\"" + node.path + "\" ;;\n";
  }
  out +=
      "    esac\n"
      "  done\n"
      "  case $prev in\n"
      "    --backend) COMPREPLY=($(compgen -W 'fuse nfs auto' -- \"$cur\")); return ;;\n"
      "    --passthrough) COMPREPLY=($(compgen -W 'auto off' -- \"$cur\")); return ;;\n"
      "    --atime) COMPREPLY=($(compgen -W 'noatime relatime' -- \"$cur\")); return ;;\n"
      "    --virtual) COMPREPLY=($(compgen -W 'auto on off' -- \"$cur\")); return ;;\n"
      "    --compression) COMPREPLY=($(compgen -W 'off strip distill chain' -- \"$cur\")); "
      "return ;;\n"
      "    --access-log) COMPREPLY=($(compgen -W 'on off' -- \"$cur\")); return ;;\n"
      "    --fsync) COMPREPLY=($(compgen -W 'gateway local' -- \"$cur\")); return ;;\n"
      "    --socket|--token-file|--binary) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
      "  esac\n"
      "  case $path in\n";
  for (const Node& node : Nodes()) {
    out += "    \"" + node.path + "\")\n      if [[ $cur == -* ]]; then\n" +
           "        COMPREPLY=($(compgen -W '" + Words(node.flags) + "' -- \"$cur\"))\n" +
           "      else\n        ";
    if (!node.commands.empty()) {
      out += "COMPREPLY=($(compgen -W '" + Words(node.commands) + "' -- \"$cur\"))";
    } else if (node.path == "unmount" || node.path == "status" || node.path == "trace") {
      out += std::string("COMPREPLY=($(compgen -W \"$(") + kMounts + ")\" -- \"$cur\"))";
    } else if (node.path == "mount") {
      out += "COMPREPLY=($(compgen -d -- \"$cur\"))";
    } else if (node.path == "completion") {
      out += "COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\"))";
    } else {
      out += ":";
    }
    out += "\n      fi ;;\n";
  }
  return out + "  esac\n}\ncomplete -F _airctl airctl\n";
}

// Not $path: that is special to zsh.
std::string Zsh() {
  std::string out =
      "#compdef airctl\n"
      "_airctl() {\n"
      "  local at= word\n"
      "  local -a commands flags\n"
      "  for word in ${words[2,$((CURRENT-1))]}; do\n"
      "    case \"$at/$word\" in\n";
  const auto nodes = Nodes();
  for (const Node& node : nodes) {
    if (node.path.empty()) continue;
    const size_t space = node.path.find(' ');
    out += "      '" +
           (space == std::string::npos
                ? "/" + node.path
                : node.path.substr(0, space) + "/" + node.path.substr(space + 1)) +
           "') at='" + node.path + "' ;;\n";
  }
  out += "    esac\n  done\n  case $at in\n";
  for (const Node& node : nodes) {
    out += "    '" + node.path + "')\n      flags=(";
    for (const Entry& flag : node.flags) out += " '" + flag.word + ":" + flag.help + "'";
    out += " )\n      commands=(";
    for (const Entry& command : node.commands) {
      out += " '" + command.word + ":" + command.help + "'";
    }
    out += " )\n";
    if (node.path == "unmount" || node.path == "status") {
      out += std::string("      compadd -- ${(f)\"$(") + kMounts + ")\"}\n";
    } else if (node.path == "mount") {
      out += "      _files -/\n";
    } else if (node.path == "completion") {
      out += "      compadd bash zsh fish\n";
    }
    out += "      ;;\n";
  }
  return out +
         "  esac\n"
         "  if [[ $PREFIX == -* ]]; then _describe flag flags\n"
         "  elif (( ${#commands} )); then _describe command commands; fi\n"
         "}\n"
         "if [[ $funcstack[1] == _airctl ]]; then _airctl \"$@\"; else compdef _airctl airctl; "
         "fi\n";
}

std::string Fish() {
  std::string out = "# fish completion for airctl\ncomplete -c airctl -f\n";
  for (const Node& node : Nodes()) {
    std::string when = "__fish_use_subcommand";
    const size_t space = node.path.find(' ');
    if (!node.path.empty()) {
      when = "__fish_seen_subcommand_from " + node.path.substr(0, space);
      if (space != std::string::npos) {
        when += "; and __fish_seen_subcommand_from " + node.path.substr(space + 1);
      } else if (!node.commands.empty()) {
        when += "; and not __fish_seen_subcommand_from " + Words(node.commands);
      }
    }
    for (const Entry& command : node.commands) {
      out += "complete -c airctl -n '" + when + "' -a " + command.word + " -d '" + command.help +
             "'\n";
    }
    for (const Entry& flag : node.flags) {
      const bool path = flag.word == "--token-file" || flag.word == "--socket";
      out += "complete -c airctl -n '" + when + "' -l " + flag.word.substr(2) +
             (path ? " -rF" : "") + " -d '" + flag.help + "'\n";
    }
    if (node.path == "mount") {
      out += "complete -c airctl -n '" + when + "' -a '(__fish_complete_directories)'\n";
    } else if (node.path == "completion") {
      out += "complete -c airctl -n '" + when + "' -a 'bash zsh fish'\n";
    } else if (node.path == "unmount" || node.path == "status") {
      out += "complete -c airctl -n '" + when +
             "' -a '(string replace -rf \"^\\S+ (\\S+) fuse.airstore .*|^127.0.0.1:.airstore-\\S+ "
             "(\\S+) .*\" \"\\$1\\$2\" "
             "< /proc/self/mounts)'\n";
    }
  }
  return out;
}

}  // namespace

std::string CompletionScript(const std::string& shell) {
  if (shell == "zsh") return Zsh();
  if (shell == "fish") return Fish();
  return Bash();
}

}  // namespace airstore::airctl
