// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace airstore::airctl {
namespace {

constexpr char kEnter[] = "\033[?1049h\033[?25l";  // the other screen, without a cursor
constexpr char kLeave[] = "\033[?25h\033[?1049l";

volatile sig_atomic_t ended = 0;

void OnEnd(int /*signal*/) { ended = 1; }
void OnResize(int /*signal*/) {}  // ends the wait

void Write(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    if (written > 0) done += static_cast<size_t>(written);
  }
}

void Handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;  // without SA_RESTART
  sigaction(number, &action, nullptr);
}

}  // namespace

std::optional<Terminal> Terminal::Take() {
  termios before{};
  if (isatty(STDOUT_FILENO) == 0 || tcgetattr(STDIN_FILENO, &before) != 0) return std::nullopt;
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return std::nullopt;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) Handle(number, OnEnd);
  Handle(SIGWINCH, OnResize);
  Write(kEnter);
  return Terminal(before);
}

Terminal::Terminal(Terminal&& other) noexcept : before_(other.before_) { other.before_.reset(); }

Terminal::~Terminal() {
  if (!before_) return;
  Write(kLeave);
  tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
}

Terminal::Size Terminal::size() const {
  winsize found{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) != 0 || found.ws_col == 0) return {};
  return {found.ws_col, found.ws_row};
}

void Terminal::Draw(const std::vector<std::string>& lines) const {
  std::string text = "\033[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    text += (i == 0 ? "" : "\r\n") + lines[i] + "\033[K";
  }
  Write(text + "\033[J");
}

std::optional<char> Terminal::AwaitKey(std::chrono::milliseconds patience) const {
  if (ended != 0) return std::nullopt;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  const int ready = poll(&input, 1, static_cast<int>(patience.count()));
  if (ended != 0) return std::nullopt;
  if (ready <= 0) return '\0';
  char key = 0;
  const ssize_t got = read(STDIN_FILENO, &key, 1);
  if (got == 0 || (input.revents & (POLLHUP | POLLERR)) != 0) return std::nullopt;
  return got < 0 ? '\0' : key;
}

}  // namespace airstore::airctl
