// The demo edits this line and builds again.
module.exports = "Hello from a container";
